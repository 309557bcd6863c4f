/** The request bodies as types, for bodies that `shape.ts` has checked. */
import type { JsonObject } from "../types.js";

type Maybe<T> = T | null | undefined;

export interface StructuredOutputs {
  json?: unknown;
  json_object?: Maybe<true>;
  regex?: Maybe<string>;
  choice?: Maybe<string[]>;
  grammar?: Maybe<string>;
  structural_tag?: unknown;
}

export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | {
      type: "json_schema";
      json_schema: {
        name: string;
        schema?: JsonObject | boolean;
        description?: Maybe<string>;
        strict?: Maybe<boolean>;
      };
    }
  | { type: "regex"; regex: string }
  | { type: "grammar"; grammar: string }
  | { type: "choice"; choice: string[] }
  | { type: "structural_tag"; format?: JsonObject; structural_tag?: unknown };

/** What chat and completions share. */
export interface SharedBody {
  model?: Maybe<string>;
  stream?: boolean;
  stream_options?: Maybe<{ include_usage?: boolean; include_obfuscation?: false }>;
  response_format?: Maybe<ResponseFormat>;
  structured_outputs?: Maybe<StructuredOutputs>;
  temperature?: Maybe<number>;
  top_p?: Maybe<number>;
  top_k?: Maybe<number>;
  min_p?: Maybe<number>;
  presence_penalty?: Maybe<number>;
  frequency_penalty?: Maybe<number>;
  repetition_penalty?: Maybe<number>;
  logit_bias?: Maybe<Record<string, number>>;
  max_tokens?: Maybe<number>;
  min_tokens?: Maybe<number>;
  ignore_eos?: Maybe<boolean>;
  stop?: Maybe<string | string[]>;
  stop_token_ids?: Maybe<number[]>;
  n?: Maybe<number>;
  seed?: Maybe<number>;
  user?: Maybe<string>;
  metadata?: Maybe<Record<string, string>>;
  store?: Maybe<false>;
  service_tier?: Maybe<"auto" | "default">;
  safety_identifier?: Maybe<string>;
  prompt_cache_key?: Maybe<string>;
}

export type ContentPart =
  | { type: "text"; text: string }
  | { type: "image_url"; image_url: unknown }
  | { type: "input_audio"; input_audio: unknown };

export interface ToolCallBody {
  id: string;
  type?: "function";
  function: { name: string; arguments: string };
}

export interface MessageBody {
  role: "system" | "developer" | "user" | "assistant" | "tool";
  content?: Maybe<string | ContentPart[]>;
  name?: Maybe<string>;
  tool_calls?: Maybe<ToolCallBody[]>;
  tool_call_id?: Maybe<string>;
  refusal?: Maybe<string>;
}

export interface ToolBody {
  type?: "function";
  function: {
    name: string;
    description?: Maybe<string>;
    parameters?: Maybe<JsonObject>;
    strict?: Maybe<boolean>;
  };
}

export interface ChatBody extends SharedBody {
  messages: MessageBody[];
  tools?: Maybe<ToolBody[]>;
  tool_choice?: Maybe<"none" | "auto" | "required" | { type?: "function"; function: { name: string } }>;
  parallel_tool_calls?: boolean;
  max_completion_tokens?: Maybe<number>;
  logprobs?: Maybe<boolean>;
  top_logprobs?: Maybe<number>;
  chat_template_kwargs?: Maybe<JsonObject>;
}

export interface CompletionBody extends SharedBody {
  prompt: string | (string | number | number[])[];
  echo?: boolean;
  logprobs?: Maybe<number>;
}
