"""The fields at the top level of requests that other servers document, by server."""

SERVED_FIELDS: dict[str, list[str]] = {
    server: names.split()
    for server, names in {
        "OpenAI": """
            messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens
            max_tokens metadata modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key
            prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store
            stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
            prompt best_of echo suffix
        """,
        "llama-server": """
            prompt messages model stream stream_options temperature dynatemp_range dynatemp_exponent top_k top_p min_p
            n_predict max_tokens max_completion_tokens n_indent n_keep n_discard n_cmpl n n_cache_reuse stop typical_p
            repeat_penalty repeat_last_n presence_penalty frequency_penalty dry_multiplier dry_base dry_allowed_length
            dry_penalty_last_n dry_sequence_breakers xtc_probability xtc_threshold top_n_sigma mirostat mirostat_tau
            mirostat_eta adaptive_target adaptive_decay grammar json_schema seed ignore_eos logit_bias n_probs min_keep
            t_max_predict_ms id_slot cache_prompt return_tokens return_progress samplers timings_per_token
            post_sampling_probs response_fields lora backend_sampling speculative.n_max speculative.n_min
            speculative.p_min speculative.type speculative.ngram_size_n speculative.ngram_size_m
            speculative.ngram_min_hits chat_template_kwargs add_generation_prompt continue_final_message
            reasoning_format reasoning_effort reasoning_control reasoning_budget_tokens thinking_budget_tokens
            reasoning_budget_message thinking_forced_open parse_tool_calls parallel_tool_calls tool_choice tools
            response_format logprobs top_logprobs sse_ping_interval verbose grammar_lazy grammar_triggers
            preserved_tokens chat_parser generation_prompt echo documents metadata
        """,
        "vLLM": """
            messages model frequency_penalty logit_bias logprobs top_logprobs max_tokens max_completion_tokens n
            presence_penalty response_format seed stop stream stream_options temperature top_p tools tool_choice
            reasoning_effort thinking_token_budget include_reasoning parallel_tool_calls user use_beam_search top_k
            min_p repetition_penalty watermarking length_penalty stop_token_ids include_stop_str_in_output ignore_eos
            min_tokens skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens truncation_side
            prompt_logprobs logprob_token_ids allowed_token_ids bad_words echo add_generation_prompt
            continue_final_message add_special_tokens documents chat_template chat_template_kwargs media_io_kwargs
            mm_processor_kwargs structured_outputs guided_json guided_regex guided_choice guided_grammar
            guided_decoding_backend guided_whitespace_pattern priority request_id session_id
            return_tokens_as_token_ids return_token_ids return_token_offsets return_prompt_text return_mm_kwargs
            routed_experts_prompt_start cache_salt kv_transfer_params ec_transfer_params vllm_xargs
            repetition_detection logits_processors early_stopping best_of suffix
        """,
        "Ollama": """
            model messages prompt stream stream_options max_tokens seed stop frequency_penalty presence_penalty
            temperature top_p response_format tools reasoning reasoning_effort think keep_alive format options template
            raw images suffix logprobs top_logprobs _debug_render_only
        """,
    }.items()
}
