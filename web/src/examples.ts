// Captions to start from: things that the miniature has seen, said in the ways that planners are good at.

export const EXAMPLES = [
  "a blue dog and a yellow umbrella on a beach",
  "two red apples to the left of a sleeping cat",
  "a green car in front of three orange balls on a street, no people",
  "a purple bird above a brown chair in a room",
] as const;
