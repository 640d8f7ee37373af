// A language model as far as the program sees one: a server of OpenAI's protocol that answers from a script.
import { type Server, createServer } from "node:http";

export interface ScriptedModel { url: string; close(): Promise<void> }

/** Answers with the text that `script` gives for the whole request. */
export async function startModel(script: (request: string) => string): Promise<ScriptedModel> {
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const content = script(Buffer.concat(chunks).toString());
      response.writeHead(200, { "Content-Type": "application/json" });
      response.end(JSON.stringify({ id: "1", object: "chat.completion", model: "scripted", choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content } }], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { url: `http://127.0.0.1:${address.port}/v1`, close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(() => resolve()); }) };
}
