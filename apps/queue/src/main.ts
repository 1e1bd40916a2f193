/** Starts the queue app. */
process.exitCode = 1;
