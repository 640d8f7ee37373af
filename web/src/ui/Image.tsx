// A picture of the server's: with a token, it has to be fetched, as an image cannot send one.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError, send, token } from "../api";

interface ImageProps {
  address: string;
  alt: string;
  class?: string;
  /** What stands there if the server has no such picture any more. */
  missing?: ComponentChildren;
}

export function Image({ address, alt, class: name = "", missing = null }: ImageProps) {
  const source = useSource(address);
  const [failed, setFailed] = useState<string | null>(null);
  if (failed === address || source === MISSING) return <>{missing}</>;
  return source ? <img class={name} src={source} alt={alt} draggable={false} decoding="async" onError={() => setFailed(address)} /> : null;
}

/** In place of an address: the server answered that there is none. */
const MISSING = Symbol("missing");

function useSource(address: string): string | typeof MISSING | null {
  const isDirect = token.get() === null || /^(data|blob):/.test(address);
  const [fetched, setFetched] = useState<{ address: string; source: string | typeof MISSING } | null>(null);
  useEffect(() => {
    if (isDirect) return;
    let source: string | null = null;
    const stop = new AbortController();
    send(address, { signal: stop.signal })
      .then(async (response) => {
        source = URL.createObjectURL(await response.blob());
        setFetched({ address, source });
      })
      // Else an empty frame: the call that listed the job reports a lost server.
      .catch((error: unknown) => { if (error instanceof ApiError && error.status >= 400) setFetched({ address, source: MISSING }); });
    return () => {
      stop.abort();
      if (source) URL.revokeObjectURL(source);
    };
  }, [address, isDirect]);
  if (isDirect) return address;
  return fetched?.address === address ? fetched.source : null;
}
