// Every environment variable of the package, for docs/configuration.md (made by scripts/config-doc.mjs) and /ds4 doctor.

export interface Variable {
  name: string;
  fallback: string;
  meaning: string;
}

export interface VariableGroup {
  title: string;
  variables: Variable[];
}

export const VARIABLES: VariableGroup[] = [
  {
    title: "Model",
    variables: [
      { name: "DS4_MODEL", fallback: "none", meaning: "the GGUF file to serve; goes before all other ways to choose a model" },
      { name: "DS4_MODEL_QUANT", fallback: "q2", meaning: "`q2`: the real model, 2 bits per expert weight. `nano`: the toy that comes with the package" },
      { name: "DS4_MODEL_REPO", fallback: "audreyt/CyberNeurova-...-GGUF", meaning: "repository that the real model is fetched from" },
      { name: "DS4_MODEL_FILE", fallback: "cyberneurova-...-aligned.gguf", meaning: "name of the file in that repository" },
      { name: "DS4_GGUF_DIR", fallback: "~/.pi/ds4/support/gguf", meaning: "where model files are kept" },
      { name: "HF_ENDPOINT", fallback: "https://huggingface.co", meaning: "host of the repository, for a mirror" },
      { name: "HF_TOKEN", fallback: "~/.cache/huggingface/token", meaning: "access token, sent to that host only; the file is used where the variable is empty" },
      { name: "DS4_IGNORE_MEMORY", fallback: "0", meaning: "1 fetches the real model also on a machine with less than 96 GB of memory" },
    ],
  },
  {
    title: "Answers",
    variables: [
      { name: "DS4_CONTEXT_KB", fallback: "100", meaning: "context in thousands of tokens: 100 means 100000" },
      { name: "DS4_MAX_TOKENS", fallback: "384000", meaning: "the longest answer in tokens; pi lowers it to what the context has left" },
      { name: "DS4_REPRODUCIBLE", fallback: "1", meaning: "0 sends no seed: answers differ from run to run" },
      { name: "DS4_REPRODUCIBLE_SEED", fallback: "42", meaning: "the seed, a positive integer" },
      { name: "DS4_PROTOCOL", fallback: "openai", meaning: "`openai` (chat completions), `openai-responses` or `anthropic` (messages)" },
    ],
  },
  {
    title: "Steering",
    variables: [
      { name: "DS4_DIR_STEERING_FILE", fallback: "none", meaning: "a direction file; without one nothing is steered" },
      { name: "DS4_DIR_STEERING_FFN", fallback: "-0.75", meaning: "strength after the feed-forward part, -100 to 100" },
      { name: "DS4_DIR_STEERING_ATTN", fallback: "0", meaning: "strength after attention, -100 to 100; both 0 turn steering off" },
      { name: "DS4_DIR_STEERING_POLICY", fallback: "final-answer", meaning: "`final-answer`, `decoding`, `always` or `off`" },
    ],
  },
  {
    title: "Server",
    variables: [
      { name: "DS4_PORT", fallback: "8000", meaning: "port on 127.0.0.1 of a server that is started; one that runs already keeps its own" },
      { name: "DS4_KV_DISK_SPACE_MB", fallback: "8192", meaning: "size of the disk cache of computed prompts in MiB, 0 turns it off; by default 4096 on machines with less than 64 GB of memory and 2048 below 32 GB" },
      { name: "DS4_MT", fallback: "auto on macOS", meaning: "`auto`, `on` or `off`: Metal tensor routes; passed on other systems only when set" },
      { name: "DS4_MPP", fallback: "none", meaning: "older name of `DS4_MT`" },
    ],
  },
  {
    title: "Engine",
    variables: [
      { name: "DS4_SERVER_BINARY", fallback: "none", meaning: "the server program; nothing is built" },
      { name: "DS4_RUNTIME_DIR", fallback: "none", meaning: "a checkout of an engine of the ds4 family, built with `make ds4-server` where it has no program yet; also searched for `ds4flash.gguf`" },
      { name: "DS4_SUPPORT_REPO", fallback: "none", meaning: "a git repository of such an engine, cloned to ~/.pi/ds4/support/checkout" },
      { name: "DS4_SUPPORT_BRANCH", fallback: "none", meaning: "branch of that repository" },
    ],
  },
  {
    title: "State",
    variables: [
      { name: "DS4_STATE_DIR", fallback: "~/.pi/ds4", meaning: "where leases, lock, log, engine and models are kept" },
      { name: "DS4_WATCHDOG_TTL", fallback: "45", meaning: "seconds that the server stays after the last pi and the last client have gone" },
      { name: "DS4_WATCHDOG_POLL", fallback: "5", meaning: "seconds between two looks of the watchdog" },
      { name: "DS4_WATCHDOG_GRACE", fallback: "60", meaning: "seconds that the server has to end by itself before it is killed" },
    ],
  },
];
