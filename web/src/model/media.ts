// What a file is, by how it starts: names and types are what somebody said it was.

const starts = (bytes: Uint8Array, text: string, at = 0): boolean => [...text].every((letter, index) => bytes[at + index] === letter.charCodeAt(0));

export const isPng = (bytes: Uint8Array): boolean => starts(bytes, "\x89PNG");

/** The kind of a picture that is no PNG, told by its first 16 bytes; null for anything else. */
export function otherPicture(bytes: Uint8Array): string | null {
  if (starts(bytes, "\xff\xd8\xff")) return "JPEG";
  if (starts(bytes, "RIFF") && starts(bytes, "WEBP", 8)) return "WebP";
  if (starts(bytes, "GIF8")) return "GIF";
  if (starts(bytes, "BM")) return "BMP";
  if (starts(bytes, "II*\0") || starts(bytes, "MM\0*")) return "TIFF";
  if (starts(bytes, "ftyp", 4)) return ["avif", "avis"].some((brand) => starts(bytes, brand, 8)) ? "AVIF" : "HEIF";
  return null;
}
