/** Something to wait for that a test opens by hand. */
export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

export function gate(): Gate {
  const resolvers: (() => void)[] = [];
  const opened = new Promise<void>((resolve) => void resolvers.push(resolve));
  return { opened, open: () => resolvers.forEach((resolve) => resolve()) };
}
