// Loaded into a measured process: answers over its channel how much CPU time it has used, in microseconds.
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send({ cpuUs: user + system });
});
process.channel.unref();
