// The small pattern language of the API cases: literals, type tokens, ~regular expressions, ordered event predicates.

const missing = Symbol('missing');
const types = {
  '<string>': (v) => typeof v === 'string',
  '<nonempty>': (v) => typeof v === 'string' && v !== '',
  '<int>': (v) => Number.isInteger(v),
  '<number>': (v) => typeof v === 'number',
  '<bool>': (v) => typeof v === 'boolean',
  '<array>': (v) => Array.isArray(v),
  '<object>': (v) => v !== null && typeof v === 'object' && !Array.isArray(v),
  '<null>': (v) => v === null,
};

export function lookUp(value, path) {
  for (const [, key, index] of path.matchAll(/\.([A-Za-z_0-9]+)|\[(\d+)\]/g)) {
    if (value === null || typeof value !== 'object') return missing;
    const name = key ?? index;
    if (!(name in value)) return missing;
    value = value[name];
  }
  return value;
}

export function fits(value, expected) {
  if (value === missing) return false;
  if (typeof expected === 'string' && expected in types) return types[expected](value);
  if (typeof expected === 'string' && expected.startsWith('~'))
    return typeof value === 'string' && new RegExp(expected.slice(1)).test(value);
  return JSON.stringify(value) === JSON.stringify(expected);
}

function eventFits(predicate, { event, data }) {
  if ('event' in predicate && predicate.event !== event) return false;
  if ('data' in predicate && !fits(data, predicate.data)) return false;
  if (!('has' in predicate)) return true;
  let json;
  try { json = JSON.parse(data); } catch { return false; }
  return Object.entries(predicate.has).every(([path, expected]) => fits(lookUp(json, path), expected));
}

/** Whether all events are explained, in order, by the predicates. */
export function eventsFit(predicates, events) {
  // reachable: which numbers of events the predicates so far can account for.
  let reachable = new Set([0]);
  for (const p of predicates) {
    const next = new Set();
    for (const start of reachable) {
      if (p.any) { for (let i = start; i <= events.length; i++) next.add(i); continue; }
      if (p.opt || p.repeat === '*') next.add(start);
      for (let i = start; i < events.length && eventFits(p, events[i]); i++) {
        next.add(i + 1);
        if (!p.repeat) break;
      }
    }
    reachable = next;
  }
  return reachable.has(events.length);
}

/** The complaints about a response; none: it is as expected. */
export function judge(expect, response) {
  const complaints = [];
  const statuses = [].concat(expect.status);
  if (!statuses.includes(response.status)) complaints.push(`status ${response.status}, not ${statuses.join(' or ')}`);
  let text = '';
  try { text = response.text; } catch { complaints.push('the body is not UTF-8'); }
  if (expect.json_has || expect.json_absent) {
    let json;
    try { json = JSON.parse(text); } catch { complaints.push(`the body is not JSON: ${text.slice(0, 80)}`); }
    if (json !== undefined) {
      for (const [path, expected] of Object.entries(expect.json_has ?? {}))
        if (!fits(lookUp(json, path), expected)) complaints.push(`${path} is not ${expected}: ${text.slice(0, 300)}`);
      for (const path of expect.json_absent ?? [])
        if (lookUp(json, path) !== missing) complaints.push(`${path} is there`);
    }
  }
  for (const [name, expected] of Object.entries(expect.headers_has ?? {}))
    if (!fits(response.headers[name] ?? missing, expected)) complaints.push(`header ${name}: ${response.headers[name]}`);
  if (expect.sse && response.status === 200 && !eventsFit(expect.sse, response.events()))
    complaints.push(`events: ${text.slice(0, 200)} ... ${text.slice(-400)}`);
  return complaints;
}

/** ~REPEAT:text:n anywhere in a body stands for n times the text. */
export function expand(value) {
  if (typeof value === 'string') {
    const m = /^~REPEAT:([\s\S]*):(\d+)$/.exec(value);
    return m ? m[1].repeat(Number(m[2])) : value;
  }
  if (Array.isArray(value)) return value.map(expand);
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, expand(v)]));
  return value;
}
