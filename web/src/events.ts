// Server-sent events read from a fetch: EventSource cannot send the token.

export interface ServerEvent { event: string; data: string }

/** Splits a stream's text into events, however it was cut on the way. */
export class EventParser {
  private rest = "";

  /** The events that `text` completes. */
  push(text: string): ServerEvent[] {
    // A carriage return at the end may be half of a line break; it waits for the next piece.
    const all = this.rest + text;
    const cut = all.endsWith("\r") ? all.length - 1 : all.length;
    const blocks = all.slice(0, cut).replace(/\r\n?/g, "\n").split("\n\n");
    this.rest = (blocks.pop() ?? "") + all.slice(cut);
    return blocks.map(readBlock).filter((event) => event !== null);
  }
}

function readBlock(block: string): ServerEvent | null {
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0) continue; // a comment that keeps the line open
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  return data.length ? { event, data: data.join("\n") } : null;
}

/** Reads events until the stream ends. */
export async function* readEvents(response: Response): AsyncGenerator<ServerEvent> {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield* parser.push(decoder.decode(value, { stream: true }));
  }
}
