// A picture of the server's: with a token, it has to be fetched, as an image cannot send one.
import { useEffect, useState } from "preact/hooks";
import { send, token } from "../api";

export function Image({ address, alt, class: name = "" }: { address: string; alt: string; class?: string }) {
  const source = useSource(address);
  return source ? <img class={name} src={source} alt={alt} draggable={false} decoding="async" /> : null;
}

function useSource(address: string): string | null {
  const isDirect = token.get() === null || /^(data|blob):/.test(address);
  const [fetched, setFetched] = useState<{ address: string; source: string } | null>(null);
  useEffect(() => {
    if (isDirect) return;
    let source: string | null = null;
    const stop = new AbortController();
    send(address, { signal: stop.signal })
      .then(async (response) => {
        source = URL.createObjectURL(await response.blob());
        setFetched({ address, source });
      })
      .catch(() => undefined); // an empty frame; the call that listed the job reports a lost server
    return () => {
      stop.abort();
      if (source) URL.revokeObjectURL(source);
    };
  }, [address, isDirect]);
  if (isDirect) return address;
  return fetched?.address === address ? fetched.source : null;
}
