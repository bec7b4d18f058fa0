// npm's openai: `node npm_openai_client.mjs BASE_URL STEP...` exits nonzero with a sentence if a step fails.
import OpenAI from "openai";

const MODEL = "demo";
const [baseURL, ...names] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "local", maxRetries: 0 });
const asked = (content) => ({ model: MODEL, temperature: 0, messages: [{ role: "user", content }] });
const QUESTION = asked("What is the capital of Italy?");
const city = { type: "string", enum: ["Paris", "Rome"] };
const schema = { type: "object", properties: { city }, required: ["city"], additionalProperties: false };
const tools = [{ type: "function", function: { name: "get_weather", parameters: schema } }];

const expect = (kept, otherwise) => {
  if (!kept) {
    console.error(otherwise);
    process.exit(1);
  }
};

const steps = {
  async plain() {
    const answer = await client.chat.completions.create(QUESTION);
    const text = answer.choices[0].message.content;
    expect(text.includes("Rome"), `the answer is ${text}`);
  },
  async stream() {
    const chunks = await client.chat.completions.create({
      ...QUESTION,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = null;
    for await (const chunk of chunks) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    expect(text.includes("Rome"), `the streamed answer is ${text}`);
    expect(usage, "the stream has no usage");
  },
  async tools() {
    const first = asked("What is the weather in Paris?");
    const called = await client.chat.completions.create({ ...first, tools, tool_choice: "required" });
    const message = called.choices[0].message;
    expect(message.tool_calls?.length, `no function was called: ${JSON.stringify(message)}`);
    const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: '{"sky": "clear"}' }));
    const messages = [...first.messages, message, ...results];
    const answered = await client.chat.completions.create({ ...first, messages, tools, tool_choice: "none" });
    expect(answered.choices[0].message.content, "nothing was said about the result");
  },
  async structured() {
    const json_schema = { name: "place", strict: true, schema };
    const answer = await client.chat.completions.create({
      ...asked("Tell me of a city."),
      response_format: { type: "json_schema", json_schema },
    });
    const { city: found } = JSON.parse(answer.choices[0].message.content);
    expect(city.enum.includes(found), `the answer is ${answer.choices[0].message.content}`);
  },
};

for (const name of names) {
  await steps[name]();
  console.log(`${name}: done`);
}
