"""The foreign fields of llama-server, vLLM, SGLang, Ollama, LM Studio, OpenRouter, DashScope, and their meaning here.

A field is listed once, under the server that is known for it. docs/api.md shows the table.
"""

from collections.abc import Mapping

from localrouter.schema.foreign_fields.conversions import (
    budget,
    choice_regex,
    excluded,
    json_object_format,
    likeliest,
    output_format,
    schema_format,
    seconds,
    think,
    thinking_type,
    unlimited,
)
from localrouter.schema.foreign_fields.foreign_field import (
    Alias,
    Dependent,
    ForeignField,
    Members,
    Neutral,
    NoEffect,
    Setting,
)

THINKING = frozenset({"enable_thinking", "reasoning_effort"})
SPEED = "it changes the speed of an output, never its text"
SHARED_QUEUE = "all requests have the same priority"
OFF = "it belongs to a sampler that is off"
OWN_ID = "a response has an id of its own"
MEDIA = "it concerns media, which are rejected by name"

NO_PENALTIES: Mapping[str, object] = {"repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0}

STRUCTURED: Mapping[str, ForeignField] = {
    "json": Alias("response_format", "a JSON Schema, also as text", schema_format),
    "regex": Alias("regex"),
    "choice": Alias("regex", "one of several texts", choice_regex),
    "grammar": Alias("grammar"),
    "json_object": Alias("response_format", "true: any JSON object", json_object_format),
    "structural_tag": Neutral(),
    "whitespace_pattern": Neutral(),
    "disable_fallback": NoEffect("there is one implementation"),
    "disable_any_whitespace": Neutral(False),
    "disable_additional_properties": Neutral(False),
}

LLAMA_SERVER: Mapping[str, ForeignField] = {
    "n_predict": Alias("max_tokens", "-1 and -2: no limit", unlimited),
    "n_cmpl": Alias("n"),
    "n_probs": Setting(frozenset({"logprobs", "top_logprobs"}), "the number of likeliest tokens; 0: none", likeliest),
    "json_schema": Alias("response_format", "a JSON Schema", schema_format),
    "reasoning_budget_tokens": Alias("reasoning_budget", "-1: no budget", budget),
    "thinking_budget_tokens": Alias("reasoning_budget", "-1: no budget", budget),
    "cache_prompt": NoEffect("prefixes of prompts are cached anyway"),
    "n_cache_reuse": NoEffect(SPEED),
    "n_keep": NoEffect("nothing is truncated"),
    "n_discard": NoEffect("nothing is truncated"),
    "id_slot": NoEffect("a request gets any free slot"),
    "backend_sampling": NoEffect(SPEED),
    "speculative.n_max": NoEffect(SPEED),
    "speculative.n_min": NoEffect(SPEED),
    "speculative.p_min": NoEffect(SPEED),
    "speculative.type": NoEffect(SPEED),
    "speculative.ngram_size_n": NoEffect(SPEED),
    "speculative.ngram_size_m": NoEffect(SPEED),
    "speculative.ngram_min_hits": NoEffect(SPEED),
    "sse_ping_interval": NoEffect("`--sse-ping-seconds` sets it for all streams"),
    "repeat_last_n": Dependent(-1, NO_PENALTIES),
    "typical_p": Neutral(1),
    "typ_p": Neutral(1),
    "top_n_sigma": Neutral(-1, 0),
    "tfs_z": Neutral(1),
    "dynatemp_range": Neutral(0),
    "dynatemp_exponent": NoEffect(OFF),
    "mirostat": Neutral(0),
    "mirostat_tau": NoEffect(OFF),
    "mirostat_eta": NoEffect(OFF),
    "dry_multiplier": Neutral(0),
    "dry_base": NoEffect(OFF),
    "dry_allowed_length": NoEffect(OFF),
    "dry_penalty_last_n": NoEffect(OFF),
    "dry_sequence_breakers": NoEffect(OFF),
    "xtc_probability": Neutral(0),
    "xtc_threshold": NoEffect(OFF),
    "adaptive_target": Neutral(-1),
    "adaptive_decay": NoEffect(OFF),
    "min_keep": Neutral(0, 1),
    "penalize_nl": Neutral(False),
    "samplers": Neutral([]),
    "n_indent": Neutral(0),
    "t_max_predict_ms": Neutral(0, -1),
    "lora": Neutral([]),
    "post_sampling_probs": Neutral(False),
    "return_tokens": Neutral(False),
    "return_progress": Neutral(False),
    "response_fields": Neutral([]),
    "verbose": Neutral(False),
    "reasoning_format": Neutral("auto", "deepseek"),
    "reasoning_in_content": Neutral(False),
    "reasoning_control": Neutral(False),
    "reasoning_budget_message": Neutral(""),
    "thinking_forced_open": Neutral(False),
    "parse_tool_calls": Neutral(True),
    "grammar_lazy": Neutral(False),
    "grammar_triggers": Neutral([]),
    "preserved_tokens": Neutral([]),
    "chat_parser": Neutral(""),
    "generation_prompt": Neutral(""),
}

VLLM: Mapping[str, ForeignField] = {
    "repetition_penalty": Alias("repeat_penalty"),
    "thinking_token_budget": Alias("reasoning_budget", "-1: no budget", budget),
    "structured_outputs": Members(STRUCTURED),
    "guided_json": Alias("response_format", "a JSON Schema, also as text", schema_format),
    "guided_regex": Alias("regex"),
    "guided_choice": Alias("regex", "one of several texts", choice_regex),
    "guided_grammar": Alias("grammar"),
    "guided_decoding_backend": NoEffect("there is one implementation"),
    "guided_whitespace_pattern": Neutral(),
    "structural_tag": Neutral(),
    "best_of": Neutral(1),
    "echo": Neutral(False),
    "use_beam_search": Neutral(False),
    "length_penalty": Neutral(1),
    "early_stopping": Neutral(False),
    "include_stop_str_in_output": Neutral(False),
    "skip_special_tokens": Neutral(True),
    "spaces_between_special_tokens": Neutral(True, False),
    "truncate_prompt_tokens": Neutral(-1),
    "truncation_side": NoEffect("nothing is truncated"),
    "allowed_token_ids": Neutral([]),
    "bad_words": Neutral([]),
    "logits_processors": Neutral([]),
    "logprob_token_ids": Neutral([]),
    "repetition_detection": Neutral(),
    "watermarking": Neutral(False),
    "add_special_tokens": Neutral(False),
    "documents": Neutral([]),
    "chat_template": Neutral(""),
    "media_io_kwargs": NoEffect(MEDIA),
    "mm_processor_kwargs": NoEffect(MEDIA),
    "return_tokens_as_token_ids": Neutral(False),
    "return_token_ids": Neutral(False),
    "return_token_offsets": Neutral(False),
    "return_prompt_text": Neutral(False),
    "return_mm_kwargs": NoEffect(MEDIA),
    "routed_experts_prompt_start": Neutral(0),
    "priority": NoEffect(SHARED_QUEUE),
    "request_id": NoEffect(OWN_ID),
    "session_id": NoEffect(OWN_ID),
    "cache_salt": NoEffect("it changes which requests share a cache, never their outputs"),
    "kv_transfer_params": Neutral({}),
    "ec_transfer_params": Neutral({}),
    "vllm_xargs": Neutral({}),
}

SGLANG: Mapping[str, ForeignField] = {
    "ebnf": Alias("grammar"),
    "min_new_tokens": Alias("min_tokens"),
    "max_new_tokens": Alias("max_tokens"),
    "sampling_seed": Alias("seed"),
    "separate_reasoning": Neutral(True),
    "stream_reasoning": Neutral(True),
    "no_stop_trim": Neutral(False),
    "stop_regex": Neutral([], ""),
    "rid": NoEffect(OWN_ID),
    "lora_path": Neutral(""),
    "return_hidden_states": Neutral(False),
    "custom_params": Neutral({}),
}

OPTIONS: Mapping[str, ForeignField] = {
    "num_predict": Alias("max_tokens", "-1 and -2: no limit", unlimited),
    **{
        name: Alias(name)
        for name in (
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "seed",
            "stop",
            "repeat_penalty",
            "presence_penalty",
            "frequency_penalty",
        )
    },
    "typical_p": Neutral(1),
    "tfs_z": Neutral(1),
    "repeat_last_n": Dependent(-1, NO_PENALTIES),
    "mirostat": Neutral(0),
    "mirostat_tau": NoEffect(OFF),
    "mirostat_eta": NoEffect(OFF),
    "penalize_newline": Neutral(False),
    "num_keep": NoEffect("nothing is truncated"),
    "num_ctx": NoEffect("`--context` sets it for the server"),
    "num_batch": NoEffect(SPEED),
    "num_gpu": NoEffect(SPEED),
    "main_gpu": NoEffect(SPEED),
    "num_thread": NoEffect(SPEED),
    "use_mmap": NoEffect(SPEED),
    "use_mlock": NoEffect(SPEED),
    "numa": NoEffect(SPEED),
    "low_vram": NoEffect(SPEED),
    "draft_num_predict": NoEffect(SPEED),
}

OLLAMA: Mapping[str, ForeignField] = {
    "think": Setting(THINKING, "a boolean, or `low`, `medium`, `high`, `max`", think),
    "keep_alive": Alias("ttl", "seconds, or a duration such as `5m`; negative: for ever", seconds),
    "format": Alias("response_format", "`json`, or a JSON Schema", output_format),
    "options": Members(OPTIONS),
    "template": Neutral(""),
    "raw": Neutral(False),
    "images": Neutral([]),
    "_debug_render_only": Neutral(False),
}

OTHERS: Mapping[str, ForeignField] = {
    # DashScope, DeepSeek and Anthropic
    "thinking_budget": Alias("reasoning_budget", "-1: no budget", budget),
    "thinking": Members(
        {
            "type": Setting(
                frozenset({"enable_thinking"}), "`enabled` or `disabled`; `adaptive`: the model decides", thinking_type
            ),
            "budget_tokens": Alias("reasoning_budget", "-1: no budget", budget),
            "display": NoEffect("reasoning is shown as it is"),
            "clear_thinking": NoEffect("the chat template decides which reasoning it shows"),
        }
    ),
    "stop_sequences": Alias("stop"),
    "enable_search": Neutral(False),
    "incremental_output": Neutral(True),
    "result_format": Neutral("message"),
    "preserve_thinking": NoEffect("the chat template decides which reasoning it shows"),
    # OpenRouter
    "reasoning": Members(
        {
            "effort": Alias("reasoning_effort"),
            "enabled": Alias("enable_thinking"),
            "max_tokens": Alias("reasoning_budget"),
            "exclude": Alias("include_reasoning", "true: reasoning is not part of the response", excluded),
            "summary": NoEffect("reasoning is shown as it is"),
            "generate_summary": NoEffect("reasoning is shown as it is"),
        }
    ),
    "transforms": Neutral([]),
    "models": Neutral([]),
    "route": Neutral("fallback"),
    "provider": NoEffect("there is one provider"),
    "plugins": Neutral([]),
    "usage": NoEffect("a response always has its usage; in a stream `stream_options.include_usage` asks for it"),
    "top_a": Neutral(0),
    # Mistral
    "random_seed": Alias("seed"),
    "safe_prompt": Neutral(False),
    "prompt_mode": Neutral(),
    # LM Studio
    "draft_model": NoEffect(SPEED),
    "speculative_decoding": NoEffect(SPEED),
    # Fireworks and Together
    "max_output_tokens": Alias("max_tokens"),
    "context_length_exceeded_behavior": Neutral("error"),
    "prompt_truncate_len": Neutral(0, -1),
    "safety_model": Neutral(""),
}

FOREIGN_FIELDS: Mapping[str, Mapping[str, ForeignField]] = {
    "llama-server": LLAMA_SERVER,
    "vLLM": VLLM,
    "SGLang": SGLANG,
    "Ollama": OLLAMA,
    "other servers": OTHERS,
}
"""All foreign fields at the top level of a request, by server."""
