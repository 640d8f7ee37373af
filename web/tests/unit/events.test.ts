import { expect, it } from "vitest";
import { EventParser } from "../../src/events";

const STREAM = 'event: job\ndata: {"id":"1"}\n\n: still here\n\nevent: progress\r\ndata: {"step":\r\ndata: 2}\r\n\r\ndata:bare\n\n';
const EVENTS = [
  { event: "job", data: '{"id":"1"}' },
  { event: "progress", data: '{"step":\n2}' },
  { event: "message", data: "bare" },
];

it("reads events, their line breaks of either kind, and skips comments", () => {
  expect(new EventParser().push(STREAM)).toEqual(EVENTS);
});

it("gives the same events wherever the stream is cut", () => {
  for (let cut = 0; cut <= STREAM.length; cut++) {
    const parser = new EventParser();
    expect([...parser.push(STREAM.slice(0, cut)), ...parser.push(STREAM.slice(cut))]).toEqual(EVENTS);
  }
  const parser = new EventParser();
  expect([...STREAM].flatMap((letter) => parser.push(letter))).toEqual(EVENTS);
});

it("half an event is none", () => {
  expect(new EventParser().push("event: job\ndata: {")).toEqual([]);
});
