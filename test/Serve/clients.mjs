// What programs that use the npm package `openai` do: node clients.mjs URL. Exits with 0 when all of it works.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "sk-none", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Find the greatest common divisor of 3724 and 490." }];
const ask = (fields = {}) => client.chat.completions.create({ model, messages, temperature: 0, ...fields });

// an answer, whole and streamed
const whole = await ask();
const text = whole.choices[0].message.content;
assert.equal(whole.choices[0].finish_reason, "stop");
assert.ok(whole.usage.completion_tokens > 0);
let streamed = "", usage, reason;
for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  reason = chunk.choices[0]?.finish_reason ?? reason;
  usage = chunk.usage ?? usage;
}
assert.equal(streamed, text);
assert.equal(reason, "stop");
assert.deepEqual(usage.completion_tokens, whole.usage.completion_tokens);

// the package's own accumulation of a stream
const accumulated = await client.chat.completions.stream({ model, messages, temperature: 0, n: 2 }).finalChatCompletion();
assert.deepEqual(accumulated.choices.map(choice => choice.message.content), [text, text]);

// n, seed, stop
const many = await ask({ n: 3, temperature: 1, seed: 4, max_tokens: 20 });
const again = await ask({ n: 3, temperature: 1, seed: 4, max_tokens: 20 });
assert.equal(new Set(many.choices.map(choice => choice.index)).size, 3);
assert.deepEqual(many.choices.map(c => c.message.content), again.choices.map(c => c.message.content));
assert.equal((await ask({ stop: [text.slice(4, 7)] })).choices[0].message.content, text.slice(0, text.indexOf(text.slice(4, 7))));

// logprobs
const likely = await ask({ logprobs: true, top_logprobs: 4, max_completion_tokens: 6 });
assert.equal(likely.choices[0].logprobs.content.length, 6);
for (const entry of likely.choices[0].logprobs.content) {
  assert.equal(entry.top_logprobs.length, 4);
  assert.ok(entry.logprob <= 0 && entry.logprob >= entry.top_logprobs[3].logprob);
}

// structured answers
const schema = { type: "object", properties: { answer: { type: "integer" }, parity: { enum: ["odd", "even"] } }, required: ["answer", "parity"], additionalProperties: false };
const structured = await ask({ temperature: 1, seed: 1, response_format: { type: "json_schema", json_schema: { name: "result", strict: true, schema } } });
const value = JSON.parse(structured.choices[0].message.content);
assert.ok(Number.isInteger(value.answer) && ["odd", "even"].includes(value.parity));

const bounded = { type: "object", properties: { id: { type: "string", pattern: "^[a-c]{2}-\\d$" }, day: { type: "string", format: "date" },
  share: { type: "number", minimum: 0, maximum: 1 }, count: { type: "integer", minimum: 3, maximum: 12 } }, required: ["id", "day", "share", "count"] };
const held = JSON.parse((await ask({ temperature: 1, seed: 2, response_format: { type: "json_schema", json_schema: { name: "x", schema: bounded } } }))
  .choices[0].message.content);
assert.match(held.id, /^[a-c]{2}-\d$/);
assert.ok(!Number.isNaN(Date.parse(held.day)) && held.share >= 0 && held.share <= 1 && held.count >= 3 && held.count <= 12);

// completions
const completion = await client.completions.create({ model, prompt: "1+1=", max_tokens: 4, temperature: 0, echo: true });
assert.ok(completion.choices[0].text.startsWith("1+1="));
const scored = (await client.completions.create({ model, prompt: "1+1=2", max_tokens: 0, echo: true, logprobs: 2 })).choices[0];
assert.equal(scored.text, "1+1=2");
assert.ok(scored.logprobs.tokens.join("").endsWith("1+1=2")); // behind what the tokenizer puts before a text
assert.equal(scored.text.slice(scored.logprobs.text_offset.at(-1)), scored.logprobs.tokens.at(-1));
assert.equal(scored.logprobs.token_logprobs[0], null);
assert.ok(scored.logprobs.token_logprobs.slice(1).every(logprob => logprob <= 0));

let echoed = "", tokens = 0;
for await (const chunk of await client.completions.create({ model, prompt: "1+1=2", max_tokens: 3, temperature: 0, echo: true, logprobs: 1, stream: true })) {
  echoed += chunk.choices[0].text;
  tokens += chunk.choices[0].logprobs?.tokens.length ?? 0;
}
assert.ok(echoed.startsWith("1+1=2"));
assert.equal(tokens, scored.logprobs.tokens.length + 3);

// votes, which the package does not know: their fields and states pass through
const states = [];
for await (const chunk of await ask({ n: 6, temperature: 1, seed: 1, max_tokens: 300, stream: true, close_text: "so \\boxed{7} ", vote: { probe_every: 16, probe_on_end: true } }))
  if (chunk.vote) states.push(chunk.vote);
assert.ok(states.some(state => state.tally.some(entry => entry.provisional > 0)));
assert.equal(states.at(-1).ended, 6);
assert.ok(states.at(-1).tally.every(entry => !entry.provisional));
const decided = await ask({ n: 6, temperature: 1, seed: 1, max_tokens: 300, vote: { stop_early: "exact" } });
assert.equal(typeof decided.vote.answer, "string");
await assert.rejects(ask({ vote: { probe_every: 0 } }), error => error instanceof OpenAI.BadRequestError && error.param === "vote.probe_every");

// errors: their class, field and code
await assert.rejects(ask({ temperature: 1000 }), error => error instanceof OpenAI.BadRequestError && error.param === "temperature");
await assert.rejects(ask({ model: "none" }), error => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
await assert.rejects(ask({ stream: true, logit_bias: { 999999: 1 } }), error => error instanceof OpenAI.BadRequestError && error.param === "logit_bias");
await assert.rejects(ask({ response_format: { type: "json_schema", json_schema: { name: "x", schema: { not: {} } } } }),
  error => error.param === "response_format.json_schema.schema" && error.message.includes("'not'"));
await assert.rejects(client.embeddings.create({ model, input: "x" }), error => error instanceof OpenAI.NotFoundError && error.code === "unknown_url");
await assert.rejects(client.models.retrieve("none"), OpenAI.NotFoundError);
assert.equal((await client.models.retrieve(model)).id, model);
await assert.rejects(ask({ messages: [] }), error => error instanceof OpenAI.BadRequestError && error.param === "messages");

// a client that stops reading
const stream = await ask({ stream: true, max_tokens: 900, ignore_eos: true });
for await (const chunk of stream) { assert.ok(chunk.id); break; }
console.log("ok");
