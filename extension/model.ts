// How pi sees the model: one entry, its limits, and the dialect of each protocol that ds4-server speaks.
import type { Api } from "@earendil-works/pi-ai/compat";
import type { ProviderModelConfig } from "@earendil-works/pi-coding-agent";
import { MODEL_ID, type Protocol } from "./settings.ts";

export const APIS: Record<Protocol, Api> = {
  openai: "openai-completions",
  "openai-responses": "openai-responses",
  anthropic: "anthropic-messages",
};

const COMPAT: Record<Protocol, NonNullable<ProviderModelConfig["compat"]>> = {
  openai: {
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
  "openai-responses": { supportsDeveloperRole: false, supportsStrictMode: false, sessionAffinityFormat: "openai" },
  // Effort by name instead of a budget of tokens: only so "max" differs from "high".
  anthropic: { forceAdaptiveThinking: true, sendSessionAffinityHeaders: true },
};

export function describeModel(protocol: Protocol, contextTokens: number, maxOutputTokens: number): ProviderModelConfig {
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
    compat: COMPAT[protocol],
  };
}
