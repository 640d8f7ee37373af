import { expect, it } from "vitest";
import { isPng, otherPicture } from "../../src/model/media";

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

it("a picture is told by how it starts", () => {
  expect(isPng(bytes("\x89PNG\r\n\x1a\n"))).toBe(true);
  const kinds = ["\xff\xd8\xff\xe0", "RIFF....WEBPVP8 ", "GIF89a", "BM....", "II*\0", "MM\0*", "\0\0\0 ftypavif", "\0\0\0 ftypheic"].map((start) => otherPicture(bytes(start)));
  expect(kinds).toEqual(["JPEG", "WebP", "GIF", "BMP", "TIFF", "TIFF", "AVIF", "HEIF"]);
  expect(["\x89PNG", "{\"canvas\"", "", "RIFF....WAVE"].map((start) => otherPicture(bytes(start)))).toEqual([null, null, null, null]);
});
