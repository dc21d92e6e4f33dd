// Every model call of the provider, compaction included, passes here: first the server, then pi's own client for it.
import {
  type Api,
  type AssistantMessage,
  type AssistantMessageEventStream,
  createAssistantMessageEventStream,
  isRetryableAssistantError,
  type Model,
  type SimpleStreamOptions,
  streamSimpleAnthropic,
  streamSimpleOpenAICompletions,
  streamSimpleOpenAIResponses,
  type TranscriptContext,
} from "@earendil-works/pi-ai/compat";
import { loopbackFetch } from "./loopback.ts";
import { withSeed } from "./settings.ts";
import { StartError } from "./start-error.ts";

export interface Target {
  /** http://127.0.0.1:PORT */
  origin: string;
  seed: number | undefined;
  /** Further fields of the request body. */
  extra?: Record<string, unknown> | undefined;
}

/** Resolves once a server is ready; what it throws is what the user reads. */
export type Prepare = (signal: AbortSignal | undefined) => Promise<Target>;

export function makeStream(prepare: Prepare) {
  return (model: Model<Api>, context: TranscriptContext, options?: SimpleStreamOptions): AssistantMessageEventStream => {
    const stream = createAssistantMessageEventStream();
    void run(stream, prepare, model, context, options);
    return stream;
  };
}

async function run(
  stream: AssistantMessageEventStream,
  prepare: Prepare,
  model: Model<Api>,
  context: TranscriptContext,
  options: SimpleStreamOptions | undefined,
): Promise<void> {
  try {
    const target = await prepare(options?.signal);
    for await (const event of ask(target, model, context, options ?? {})) stream.push(event);
    stream.end();
  } catch (error) {
    const aborted = options?.signal?.aborted === true;
    const message = failedMessage(model, aborted ? "aborted" : "error", aborted ? "Request was aborted" : "");
    if (!aborted) message.errorMessage = explain(error, (text) => isRetryableAssistantError({ ...message, errorMessage: text }));
    stream.push({ type: "error", reason: aborted ? "aborted" : "error", error: message });
    stream.end();
  }
}

/** pi's own client for the protocol that the model was registered with. */
function ask(target: Target, model: Model<Api>, context: TranscriptContext, options: SimpleStreamOptions): AssistantMessageEventStream {
  const extra = withSeed({ ...model.samplingParams, ...options.samplingParams, ...target.extra }, target.seed);
  const common = { ...options, fetch: loopbackFetch };
  const withParams = extra === undefined ? common : { ...common, samplingParams: extra };
  switch (model.api) {
    case "anthropic-messages":
      // This client has no parameters beyond its protocol's own, so ours are put into the finished body.
      return streamSimpleAnthropic({ ...model, baseUrl: target.origin } as Model<"anthropic-messages">, context, {
        ...common,
        onPayload: async (payload, about) => {
          const body = (await options.onPayload?.(payload, about)) ?? payload;
          return { ...extra, ...(body as object) };
        },
      });
    case "openai-responses":
      return streamSimpleOpenAIResponses({ ...model, baseUrl: `${target.origin}/v1` } as Model<"openai-responses">, context, withParams);
    default:
      return streamSimpleOpenAICompletions({ ...model, baseUrl: `${target.origin}/v1` } as Model<"openai-completions">, context, withParams);
  }
}

const WORD_JOINER = "\u2060";

/** Leaves a text looking the same, but no longer like a transient failure: invisible marks between its characters. */
function disarm(text: string, looksTransient: (text: string) => boolean): string {
  if (!looksTransient(text)) return text;
  const numbers = text.replace(/\d(?=\d)/g, `$&${WORD_JOINER}`);
  return looksTransient(numbers) ? text.replace(/[A-Za-z0-9](?=[A-Za-z0-9])/g, `$&${WORD_JOINER}`) : numbers;
}

/** The text the user sees. pi retries an error whose text looks transient ("timeout", a status such as 503); a start that
 * failed would fail again, and pi would build or download four times. */
export function explain(error: unknown, looksTransient: (text: string) => boolean): string {
  const sentence = `ds4: ${error instanceof Error ? error.message : String(error)}`;
  if (!(error instanceof StartError)) return disarm(sentence, looksTransient);
  const said = error.lines.length > 0 ? `\nThe ${error.speaker}'s last lines:\n${error.lines.map((line) => `  ${line}`).join("\n")}` : "";
  const where = error.logFile === undefined ? "" : `\nLog: ${error.logFile}`;
  const lines = (sentence + said).split("\n").map((line) => disarm(line, looksTransient));
  return disarm(lines.join("\n"), looksTransient) + where;
}

function failedMessage(model: Model<Api>, stopReason: "aborted" | "error", errorMessage: string): AssistantMessage {
  return {
    role: "assistant",
    content: [],
    api: model.api,
    provider: model.provider,
    model: model.id,
    usage: {
      input: 0, output: 0, cacheRead: 0, cacheWrite: 0, totalTokens: 0,
      cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0 },
    },
    stopReason,
    errorMessage,
    timestamp: Date.now(),
  };
}
