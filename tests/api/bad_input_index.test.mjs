// What a server is sent that it should not be sent, in the order of the layers that must refuse it, and the tests that send it.
// Fails when one of them is gone.
import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const http = 'api/http.test.mjs', limits = 'api/http_limits.test.mjs', bodies = 'api/bad_input.test.mjs', chat = 'api/chat.test.mjs';
const structured = 'api/structured.test.mjs', responses = 'api/responses.test.mjs', store = 'unit/kv/test_store.c';
const tools = 'unit/chat/test_tool_memory.c', rows = 'unit/backend_cpu/test_row_codec.c';

const TABLE = [
  // HTTP
  ['an empty connection', http, 'connections that say nothing, are closed'],
  ['a head that never ends', http, 'a head or a body that never ends: 408'],
  ['a head above the limit', limits, 'one header line of 40 KiB', '200 header lines'],
  ['a target above the limit', limits, 'a target of 3000 bytes', 'a target that never ends'],
  ['an unknown or long method', http, 'an unknown method', 'a long method'],
  ['GET where only POST is', http, 'GET on chat'],
  ['HEAD', http, 'HEAD has the head of GET and no body'],
  ['HTTP/0.9 and HTTP/2.0', http, 'HTTP/0.9', 'HTTP/2.0'],
  ['a header line without a colon, or with space before it', http, 'a header line without a colon', 'space before the colon'],
  ['NUL and control characters in the head', http, 'NUL in the header', 'a control character'],
  ['a negative length', limits, 'a negative length'],
  ['a length that is no decimal number', http, 'length abc', 'length 60x', 'length +60', 'empty length'],
  ['a hexadecimal length', limits, 'a hexadecimal length'],
  ['a length of 2^64', http, '2^64'],
  ['two lengths', limits, 'two different lengths', 'two equal lengths'],
  ['a length and chunks', http, 'length and chunked'],
  ['chunks', http, 'chunked bodies in small pieces'],
  ['chunks that are wrong', http, 'a bad chunk size', 'a chunk size overflow', 'a chunk above the limit'],
  ['a last chunk that is missing', limits, 'a chunked body without its last chunk', 'chunk data that is longer than its size'],
  ['another coding', http, "'gzip'"],
  ['no length', http, 'no length'],
  ['a body that ends early', http, 'a body that ends early'],
  ['a body above the limit', limits, 'a body above the limit: 413 reaches a client that writes on'],
  ['Expect', http, '100 Continue', 'another expectation'],
  ['a second request behind the first', http, 'a pipelined second request'],
  // JSON
  ['no object', bodies, 'no object: nothing, an array, a string, null'],
  ['no JSON: garbage, commas, comments, numbers, control characters, UTF-8', bodies, 'not JSON: garbage behind it'],
  ['surrogates and NUL', bodies, 'odd but legal'], ['the same over HTTP', limits, 'surrogates and NUL in a string'],
  ['depth', bodies, 'depth: 256 containers are read, 257 are not'],
  ['members twice', http, 'role twice', 'content twice', 'name twice', 'tool call id twice'],
  // Fields
  ['model', bodies, 'model: null is the default, other types are refused'],
  ['messages, prompt, input', bodies, 'input: missing, null, of a wrong type, empty'],
  ['roles, content, images, an assistant at the end', bodies, 'roles and content'],
  ['max_tokens', bodies, 'how many tokens'],
  ['temperature, top_p, top_k, min_p', bodies, 'sampling values'],
  ['stream', bodies, 'stream: a word is no boolean, null is false'],
  ['n', bodies, 'more than one answer'],
  ['tool_choice', structured, 'required: calls of known tools', 'a named tool: one call of it', 'Responses: text.format and tool_choice',
    'Messages: tool_choice any, tool and none'],
  ['tools', bodies, "test('tools'"],
  ['control tokens in a schema', 'unit/chat/test_render.c', 'test_requests_cannot_forge_controls'],
  ['results without a call', bodies, 'results without a call'],
  ['an unknown previous_response_id', responses, 'what is refused, and which field is blamed'],
  ['an unknown effort', bodies, "test('efforts'"],
  ['a prompt that does not fit, and one that just does', bodies, 'a prompt that does not fit says so'],
  ['a prompt that does not fit with what was thought', responses, 'what was thought before is left out when the prompt does not fit'],
  ['stop sequences', bodies, 'stop sequences'],
  // Clients and load
  ['clients that leave', limits, 'clients that leave the queue, the prompt and the answer'],
  ['clients that never read', chat, 'a client that never reads is given up', 'a slow reader pauses only itself'],
  ['a thousand idle connections', limits, 'a thousand idle connections'],
  ['a full queue', chat, 'a full queue: 429 and Retry-After'],
  ['requests during the end', limits, 'requests during the end'],
  ['a foreign Origin or Host', http, 'a foreign Origin', 'a foreign Host'],
  ['paths to be normalised', http, "'dots'", 'encoded dots', 'a double slash'],
  // Files of the disk cache
  ['an empty file, no magic, another version, other headers', store, 'damage_is_never_served', 'forged_headers_are_refused'],
  ['a file cut short anywhere', store, 'damage_is_never_served'], ['a record of calls cut short', tools, 'records_are_whole_or_nothing'],
  ['a payload of 2^64-1 bytes', store, 'absurd_lengths_are_refused'],
  ['a file that is not what its name says', store, 'a_block_is_what_its_name_says'],
  ['tokens outside the vocabulary, NaN', store, 'forged_numbers_are_refused'], ['the same in any place', rows, 'rows_that_hold_no_number_are_told'],
  ['links, pipes, directories', store, 'foreign_things_are_left_alone'],
  ['files of another user', store, 'files_of_other_users_are_not_read'],
  ['a directory that vanishes', limits, 'the cache directory disappears while the server runs'],
  ['a directory that vanishes, and a full disk', store, 'nothing_is_lost_when_the_directory_vanishes', 'a_full_disk_is_borne'],
];

for (const [what, file, ...names] of TABLE) {
  test(what, () => {
    const text = readFileSync(join(import.meta.dirname, '..', file), 'utf8');
    for (const name of names) assert.ok(text.includes(name), `${file} has no test "${name}"`);
  });
}
