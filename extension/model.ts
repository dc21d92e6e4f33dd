// How pi sees the model: one entry, its limits, and the dialect of chat completions that ds4-server speaks.
import type { ProviderModelConfig } from "@earendil-works/pi-coding-agent";
import { MODEL_ID } from "./settings.ts";

export function describeModel(contextTokens: number, maxOutputTokens: number): ProviderModelConfig {
  return {
    id: MODEL_ID,
    name: "DeepSeek V4 Flash (local)",
    reasoning: true,
    // V4 knows three efforts: none, high and max. pi moves an unsupported level up to the next one.
    thinkingLevelMap: { minimal: null, low: null, medium: null, high: "high", max: "max" },
    input: ["text"],
    cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
    contextWindow: contextTokens,
    maxTokens: maxOutputTokens,
    compat: {
      supportsStore: false,
      supportsDeveloperRole: false,
      supportsReasoningEffort: true,
      supportsUsageInStreaming: true,
      maxTokensField: "max_tokens",
      supportsStrictMode: false,
      thinkingFormat: "deepseek",
      requiresReasoningContentOnAssistantMessages: true,
      sendSessionAffinityHeaders: true,
      sessionAffinityFormat: "openai",
    },
  };
}
