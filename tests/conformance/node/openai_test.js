// The official client of npm against a started server: what its users do, and how it fails.
//   WEFT_URL=http://127.0.0.1:8000 node --test openai_test.js
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const baseURL = `${process.env.WEFT_URL}/v1`;
const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0, timeout: 120_000 });
const model = 'smollm2';
const messages = [{ role: 'user', content: 'What is the capital of Japan?' }];
const City = z.object({ name: z.string(), is_capital: z.boolean() });
const weather = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
};

test('a chat', async () => {
  const answer = await client.chat.completions.create({ model, messages, temperature: 0, max_completion_tokens: 24 });
  assert.match(answer.choices[0].message.content, /Tokyo/);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('a stream says what the whole answer says', async () => {
  const asked = { model, messages, temperature: 0, max_tokens: 24 };
  const whole = await client.chat.completions.create(asked);
  const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
  let text = '';
  let last;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? '';
    last = chunk;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(last.usage.completion_tokens, whole.usage.completion_tokens);
});

test('the accumulator of the client', async () => {
  const stream = client.chat.completions.stream({ model, messages, seed: 7, n: 2, stop: ['.'], logprobs: true });
  let heard = '';
  stream.on('content', (delta) => (heard += delta));
  const answer = await stream.finalChatCompletion();
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
  for (const choice of answer.choices) assert.ok(choice.logprobs.content.length > 0);
  // The client tells of both choices in one event.
  const said = answer.choices.map((choice) => choice.message.content).join('');
  assert.equal(heard.length, said.length);
});

test('a stream that is left ends', async () => {
  const stream = await client.chat.completions.create({ model, messages, stream: true, max_tokens: 500 });
  for await (const chunk of stream) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    break;
  }
  assert.ok(stream.controller.signal.aborted);
});

test('parse gives an object of the schema', async () => {
  const answer = await client.chat.completions.parse({
    model, messages, temperature: 0, max_tokens: 200, response_format: zodResponseFormat(City, 'city'),
  });
  assert.ok(City.safeParse(answer.choices[0].message.parsed).success);
});

test('a required tool is called, whole and streamed', async () => {
  const tools = [{ type: 'function', function: { name: 'get_weather', description: 'The weather of a city.', parameters: weather } }];
  const asked = { model, messages, tools, tool_choice: 'required', temperature: 0, max_tokens: 200, parallel_tool_calls: false };
  const whole = await client.chat.completions.create(asked);
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
  for (const answer of [whole, streamed]) {
    const [choice] = answer.choices;
    assert.equal(choice.finish_reason, 'tool_calls');
    assert.equal(choice.message.tool_calls[0].function.name, 'get_weather');
    assert.match(choice.message.tool_calls[0].id, /^call_/);
    assert.equal(typeof JSON.parse(choice.message.tool_calls[0].function.arguments).city, 'string');
  }
  assert.deepEqual(whole.choices[0].message.tool_calls[0].function, {
    name: streamed.choices[0].message.tool_calls[0].function.name,
    arguments: streamed.choices[0].message.tool_calls[0].function.arguments,
  });
});

test('runTools goes round', async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model, messages, temperature: 0, max_tokens: 60, tool_choice: { type: 'function', function: { name: 'get_weather' } },
    tools: [{
      type: 'function',
      function: {
        name: 'get_weather', description: 'The weather of a city.', parameters: weather, parse: JSON.parse,
        function: ({ city }) => {
          asked.push(city);
          return 'sunny';
        },
      },
    }],
  });
  await runner.done();
  assert.equal(asked.length, 1);
  assert.ok(runner.messages.some((message) => message.role === 'tool' && message.content === 'sunny'));
});

test('a response, whole, streamed, kept and gone on from', async () => {
  const asked = { model, input: 'What is the capital of Japan?', temperature: 0, max_output_tokens: 24 };
  const whole = await client.responses.create(asked);
  assert.match(whole.output_text, /Tokyo/);
  const stream = client.responses.stream(asked);
  const types = [];
  stream.on('event', (event) => types.push(event.type));
  const final = await stream.finalResponse();
  assert.equal(final.output_text, whole.output_text);
  assert.equal(types[0], 'response.created');
  const kept = await client.responses.retrieve(whole.id);
  assert.equal(kept.output[0].content[0].text, whole.output_text);
  const next = await client.responses.create({ ...asked, input: 'And of France?', previous_response_id: whole.id });
  assert.ok(next.usage.input_tokens > whole.usage.input_tokens);
  await client.responses.delete(whole.id);
  await assert.rejects(() => client.responses.retrieve(whole.id), OpenAI.NotFoundError);
});

test('a response is parsed', async () => {
  const answer = await client.responses.parse({
    model, input: 'Name a city.', temperature: 0, max_output_tokens: 200, text: { format: zodTextFormat(City, 'city') },
  });
  assert.ok(City.safeParse(answer.output_parsed).success);
});

test('a response calls a tool', async () => {
  const answer = await client.responses.create({
    model, input: 'How is the weather in Paris?', temperature: 0, max_output_tokens: 200, tool_choice: 'required',
    parallel_tool_calls: false,
    tools: [{ type: 'function', name: 'get_weather', description: 'The weather of a city.', parameters: weather, strict: true }],
  });
  const [call] = answer.output.filter((item) => item.type === 'function_call');
  assert.equal(call.name, 'get_weather');
  assert.equal(typeof JSON.parse(call.arguments).city, 'string');
});

test('completions, models and embeddings', async () => {
  const answer = await client.completions.create({ model, prompt: ['1, 2, 3,', 'a, b, c,'], max_tokens: 4, temperature: 0 });
  assert.equal(answer.choices.length, 2);
  const ids = [];
  for await (const one of client.models.list()) ids.push(one.id);
  assert.deepEqual(ids, [model]);
  // Asked for as base64, which the client decodes.
  const vectors = await client.embeddings.create({ model, input: ['one', 'two'] });
  assert.equal(vectors.data.length, 2);
  assert.ok(vectors.data[0].embedding.length > 100);
  assert.ok(vectors.data[0].embedding.every(Number.isFinite));
});

test('failures are told as what they are', async () => {
  const ask = (fields) => client.chat.completions.create({ model, messages, ...fields });
  await assert.rejects(() => ask({ top_p: 2 }), (error) => error instanceof OpenAI.BadRequestError && error.param === 'top_p');
  await assert.rejects(() => ask({ model: 'gpt-4' }), (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found');
  await assert.rejects(() => ask({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://a/b.png' } }] }] }),
    (error) => error instanceof OpenAI.BadRequestError && /image_url/.test(error.message));
  await assert.rejects(() => client.completions.create({ model, prompt: 'word '.repeat(3000) }),
    (error) => error.code === 'context_length_exceeded');
});
