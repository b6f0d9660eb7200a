// Meters one call of a model with nothing but `fetch`: emits what the call used, emits it again as one does when an answer was
// lost, and reads the balance after it. The second time changes nothing, because the id is the same.
//
//   export KEY=... PRODUCER=http://127.0.0.1:8081 EDGE=http://127.0.0.1:8080    # `cargo xtask demo --keep` prints them
//   node examples/emit.ts                               # Node 22.18 or later, Deno, Bun
//   node --experimental-strip-types examples/emit.ts    # Node 22.6 or later
//   npx tsx examples/emit.ts                            # Node 20, which cannot read types

declare const process: { env: Record<string, string | undefined>; exitCode?: number };

type UsageEvent = {
  event_id: string;
  org_id: string;
  module: string;
  provider: string;
  request_model: string;
  input_tokens: number;
  cache_read_input_tokens: number;
  output_tokens: number;
};

type Accepted = {
  position: string | null;
};

type Balance = {
  balance: string;
};

const { KEY, PRODUCER, EDGE, ORG = "org-000" } = process.env;

/** The milliseconds since 1970, then chance. */
function uuidv7(): string {
  const time = Date.now().toString(16).padStart(12, "0");
  const chance = crypto.randomUUID();
  return `${time.slice(0, 8)}-${time.slice(8)}-7${chance.slice(15)}`;
}

/** The JSON that a service answers. Nobody there, 429 and 5xx are tried again: the event's id is the same, so it counts once. */
async function ask<T>(url: string, request: RequestInit, tries: number): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const answer = await fetch(url, request).catch((error: Error) => error);
    if (answer instanceof Response && answer.ok) {
      return answer.json();
    }
    const mayPass = answer instanceof Error || answer.status === 429 || answer.status >= 500;
    if (!mayPass || attempt === tries) {
      throw new Error(answer instanceof Error ? String(answer.cause ?? answer) : await answer.text());
    }
    await new Promise((resume) => setTimeout(resume, 250 * 2 ** attempt));
  }
}

function emit(event: UsageEvent): Promise<Accepted> {
  const headers = {
    "Authorization": `Bearer ${KEY}`,
    "Content-Type": "application/json",
    "Prefer": "wait=5", // for the position, wait until the log has it
  };
  return ask(`${PRODUCER}/v1/events`, { method: "POST", headers, body: JSON.stringify(event) }, 5);
}

async function main(): Promise<void> {
  const event_id = uuidv7();
  // What the provider's answer said of its usage. Cached tokens are a part of the input, not an addition.
  const usage = { input_tokens: 1000, cache_read_input_tokens: 600, output_tokens: 200 };
  const event = { event_id, org_id: ORG, module: "rag-retrieval", provider: "openai", request_model: "gpt-5", ...usage };
  const first = await emit(event);
  console.log(`emitted ${event_id} at ${first.position}`);
  const again = await emit(event);
  if (again.position === null) {
    console.log(`emitted ${event_id}: it is in the gateway's spool, and has no position while the brokers are away`);
    return;
  }
  console.log(`emitted ${event_id} again at ${again.position}`);
  // The ledger has passed the position when this is answered.
  const query = new URLSearchParams({ org_id: ORG, at_least: again.position });
  const headers = { "Authorization": `Bearer ${KEY}` };
  const { balance } = await ask<Balance>(`${EDGE}/v1/balance?${query}`, { headers }, 5);
  console.log(`${ORG} has ${balance} credits`);
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
