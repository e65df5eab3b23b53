//! What real servers answer, and what is made of it: 66 answers by status and body, and the bounds on reading them.

use super::*;

const FREE: bool = true;
const UNKNOWN: bool = false;

/// What real servers answer: the status, the body, what kind of no it is, whether no model ran.
#[rustfmt::skip]
const REAL: [(&str, u16, &str, FailureKind, bool); 66] = [
    ("OpenAI, requests a minute", 429, r#"{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#, FailureKind::Overloaded, FREE),
    ("OpenAI, a request that never fits", 429, r#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#, FailureKind::Rejected, FREE),
    ("OpenAI, no money", 429, r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#, FailureKind::Rejected, FREE),
    ("OpenAI, the limit of a bill", 429, r#"{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}"#, FailureKind::Rejected, FREE),
    ("OpenAI, overloaded", 503, r#"{"error":{"message":"The server is currently overloaded with other requests. Sorry about that!","type":"server_error","param":null,"code":null}}"#, FailureKind::Overloaded, FREE),
    ("OpenAI, an engine", 503, r#"{"error":{"message":"That model is currently overloaded with other requests.","type":"server_error","param":null,"code":null}}"#, FailureKind::Overloaded, FREE),
    ("OpenAI, an error of its own", 500, r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}"#, FailureKind::Overloaded, UNKNOWN),
    ("OpenAI, a wrong key", 401, r#"{"error":{"message":"Incorrect API key provided: sk-x.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#, FailureKind::Rejected, FREE),
    ("OpenAI, too long", 400, r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#, FailureKind::Rejected, FREE),
    ("Anthropic, overloaded", 529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#, FailureKind::Overloaded, FREE),
    ("Anthropic, a rate", 429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 50,000 input tokens per minute."}}"#, FailureKind::Overloaded, FREE),
    ("Anthropic, overloaded behind a proxy", 500, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, FailureKind::Overloaded, FREE),
    ("Anthropic, an error of its own", 500, r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#, FailureKind::Overloaded, UNKNOWN),
    ("Anthropic, no money", 400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#, FailureKind::Rejected, FREE),
    ("Anthropic, a bill", 402, r#"{"type":"error","error":{"type":"billing_error","message":"There is an issue with your billing."}}"#, FailureKind::Rejected, FREE),
    ("Anthropic, too large", 413, r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#, FailureKind::Rejected, FREE),
    ("OpenRouter, in a reply", 200, r#"{"error":{"message":"Rate limit exceeded: free-models-per-min","code":429}}"#, FailureKind::Overloaded, FREE),
    ("OpenRouter, a day's free calls", 429, r#"{"error":{"message":"Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"50"}}}}"#, FailureKind::Overloaded, FREE),
    ("OpenRouter, its provider's", 200, r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"x is temporarily rate-limited upstream","provider_name":"Chutes"}},"user_id":"user_1"}"#, FailureKind::Overloaded, FREE),
    ("OpenRouter, its provider broke", 200, r#"{"error":{"message":"Provider returned error","code":502}}"#, FailureKind::Overloaded, UNKNOWN),
    ("OpenRouter, nobody there", 503, r#"{"error":{"message":"No instances available","code":503}}"#, FailureKind::Overloaded, FREE),
    ("OpenRouter, no credits", 402, r#"{"error":{"message":"Insufficient credits","code":402}}"#, FailureKind::Rejected, FREE),
    ("OpenRouter, no credits in a reply", 200, r#"{"error":{"message":"This request requires more credits, or fewer max_tokens.","code":402}}"#, FailureKind::Rejected, FREE),
    ("OpenRouter, in a choice", 200, r#"{"id":"gen-1","choices":[{"error":{"message":"Rate limited upstream","code":429},"finish_reason":"error"}]}"#, FailureKind::Overloaded, FREE),
    ("Azure OpenAI, a rate", 429, r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded call rate limit of your current AIServices S0 pricing tier. Please retry after 6 seconds."}}"#, FailureKind::Overloaded, FREE),
    ("Azure API Management", 429, r#"{"statusCode":429,"message":"Rate limit is exceeded. Try again in 24 seconds."}"#, FailureKind::Overloaded, FREE),
    ("Azure OpenAI, no capacity", 503, r#"{"error":{"code":"ServiceUnavailable","message":"The service is temporarily unable to process your request. Please try again later."}}"#, FailureKind::Overloaded, FREE),
    ("Azure OpenAI, no deployment", 404, r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#, FailureKind::Rejected, FREE),
    ("Gemini, overloaded", 503, r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#, FailureKind::Overloaded, FREE),
    ("Gemini, a quota that comes back", 429, r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34s"}]}}]"#, FailureKind::Overloaded, FREE),
    ("Gemini, an error of its own", 500, r#"{"error":{"code":500,"message":"An internal error has occurred.","status":"INTERNAL"}}"#, FailureKind::Overloaded, UNKNOWN),
    ("Gemini, too late", 504, r#"{"error":{"code":504,"message":"The request timed out. Please try again.","status":"DEADLINE_EXCEEDED"}}"#, FailureKind::TimedOut, UNKNOWN),
    ("Vertex AI, by its reason", 403, r#"{"error":{"code":403,"message":"Quota exceeded","errors":[{"reason":"rateLimitExceeded","domain":"usageLimits"}],"status":"PERMISSION_DENIED"}}"#, FailureKind::Overloaded, FREE),
    ("Bedrock, throttled", 400, r#"{"__type":"ThrottlingException","message":"Too many requests, please wait before trying again."}"#, FailureKind::Overloaded, FREE),
    ("Bedrock, not available", 503, r#"{"__type":"com.amazon.coral.service#ServiceUnavailableException","message":"Bedrock is unable to process your request."}"#, FailureKind::Overloaded, FREE),
    ("Bedrock, not ready", 429, r#"{"__type":"ModelNotReadyException","message":"Model is not ready for inference."}"#, FailureKind::Overloaded, FREE),
    ("Bedrock, a quota of the account", 400, r#"{"__type":"ServiceQuotaExceededException","message":"Your request exceeds the service quota for your account."}"#, FailureKind::Rejected, FREE),
    ("Bedrock, too late", 408, r#"{"__type":"ModelTimeoutException","message":"Model has timed out in processing the request."}"#, FailureKind::TimedOut, UNKNOWN),
    ("vLLM, too busy", 503, r#"{"object":"error","message":"The server is overloaded","type":"ServiceUnavailableError","param":null,"code":503}"#, FailureKind::Overloaded, FREE),
    ("vLLM, a wrong request", 400, r#"{"object":"error","message":"max_tokens must be at least 1","type":"BadRequestError","param":null,"code":400}"#, FailureKind::Rejected, FREE),
    ("vLLM, in a stream", 200, r#"{"object":"error","message":"Internal server error","type":"InternalServerError","param":null,"code":500}"#, FailureKind::Overloaded, UNKNOWN),
    ("TGI, overloaded", 429, r#"{"error":"Model is overloaded","error_type":"overloaded"}"#, FailureKind::Overloaded, FREE),
    ("Hugging Face, loading", 503, r#"{"error":"Model bigscience/bloom is currently loading","estimated_time":20.0}"#, FailureKind::Overloaded, FREE),
    ("llama.cpp, loading", 503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, FailureKind::Overloaded, FREE),
    ("Ollama, busy", 503, r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, FailureKind::Overloaded, FREE),
    ("LiteLLM, its provider's rate", 429, r#"{"error":{"message":"litellm.RateLimitError: AzureException RateLimitError","type":"throttling_error","param":null,"code":"429"}}"#, FailureKind::Overloaded, FREE),
    ("LiteLLM, a budget", 400, r#"{"error":{"message":"Budget has been exceeded! Current cost: 10.1, Max budget: 10.0","type":"budget_exceeded","param":null,"code":"400"}}"#, FailureKind::Rejected, FREE),
    ("Mistral, a tier's capacity", 429, r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","param":null,"code":"3505"}"#, FailureKind::Overloaded, FREE),
    ("Mistral, a rate", 429, r#"{"message":"Requests rate limit exceeded"}"#, FailureKind::Overloaded, FREE),
    ("Groq, never fits", 413, r#"{"error":{"message":"Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 7000","type":"tokens","code":"rate_limit_exceeded"}}"#, FailureKind::Rejected, FREE),
    ("Groq, its flex tier", 498, r#"{"error":{"message":"Flex tier capacity exceeded","type":"invalid_request_error","code":"capacity_exceeded"}}"#, FailureKind::Overloaded, FREE),
    ("DeepSeek, no money", 402, r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#, FailureKind::Rejected, FREE),
    ("DeepSeek, busy", 503, r#"{"error":{"message":"Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.","type":"service_unavailable_error"}}"#, FailureKind::Overloaded, FREE),
    ("Moonshot, an engine", 429, r#"{"error":{"type":"engine_overloaded_error","message":"The engine is currently overloaded, please try again later"}}"#, FailureKind::Overloaded, FREE),
    ("Moonshot, no money", 429, r#"{"error":{"type":"exceeded_current_quota_error","message":"Your account is suspended, please check your plan and billing details"}}"#, FailureKind::Rejected, FREE),
    ("xAI, no money", 429, r#"{"code":"Some resource has been exhausted","error":"Your team has either used all available credits or reached its monthly spending limit."}"#, FailureKind::Rejected, FREE),
    ("Zhipu, no money", 429, r#"{"error":{"code":"1113","message":"Insufficient balance or no resource package. Please recharge."}}"#, FailureKind::Rejected, FREE),
    ("Cerebras, a queue", 429, r#"{"message":"We're experiencing high traffic right now! Please try again soon.","type":"too_many_requests_error","param":"queue","code":"queue_exceeded"}"#, FailureKind::Overloaded, FREE),
    ("Cloudflare Workers AI", 429, r#"{"errors":[{"message":"AiError: Capacity temporarily exceeded, please try again.","code":3040}],"success":false,"result":{},"messages":[]}"#, FailureKind::Overloaded, FREE),
    ("NVIDIA NIM", 429, r#"{"status":429,"title":"Too Many Requests"}"#, FailureKind::Overloaded, FREE),
    ("nginx, no upstream", 503, r#"<html><head><title>503 Service Temporarily Unavailable</title></head></html>"#, FailureKind::Overloaded, FREE),
    ("nginx, a broken upstream", 502, r#"<html><head><title>502 Bad Gateway</title></head></html>"#, FailureKind::Overloaded, UNKNOWN),
    ("Envoy, nobody there", 502, r#"no healthy upstream"#, FailureKind::Overloaded, FREE),
    ("a gateway of a busy model", 504, r#"{"error":{"message":"upstream model is at capacity"}}"#, FailureKind::Overloaded, FREE),
    ("nginx, too late", 504, r#"<html><head><title>504 Gateway Time-out</title></head></html>"#, FailureKind::TimedOut, UNKNOWN),
    ("a load balancer", 503, r#"the load balancer has no server for it"#, FailureKind::Overloaded, FREE),
];

#[test]
fn answers_of_real_servers_are_what_they_are_and_cost_what_they_cost() {
    for (server, status, body, kind, is_free) in REAL {
        let complaint = match status {
            200 => Complaint::of_reply(body.as_bytes()).unwrap_or_else(|| panic!("{server}: no error")),
            status => Complaint::of_status(status, body.as_bytes()),
        };
        assert_eq!((complaint.failure.kind, complaint.is_free), (kind, is_free), "{server}");
        let words = complaint.failure.message;
        assert!(!words.is_empty() && (status == 200) != words.contains(&format!("answered {status}: ")), "{words}");
    }
}

#[test]
fn what_is_no_error_is_none_and_one_that_comes_with_output_is_not_free() {
    for reply in [
        r#"{"choices":[{"delta":{"content":"an \"error\" in words"}}]}"#,
        r#"{"error":null,"choices":[{"message":{"content":"hi"},"finish_reason":"stop","error":null}]}"#,
        r#"{"error":"","errors":[],"choices":[]}"#,
        r#"{"error":{},"choices":[]}"#,
        r#"{"type":"message","content":[{"type":"text","text":"error"}]}"#,
        r#"{"type":"response.created","response":{"status":"in_progress","error":null}}"#,
        "[DONE]",
        r#"not JSON, with an "error" in it"#,
    ] {
        assert_eq!(Complaint::of_reply(reply.as_bytes()), None, "{reply}");
    }
    for reply in [
        r#"{"error":{"message":"cut"},"choices":[{"message":{"content":"so far"}}]}"#,
        r#"{"error":{"message":"cut"},"choices":[{"delta":{"content":"so far"},"finish_reason":"error"}]}"#,
        r#"{"error":{"message":"cut"},"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
        r#"{"type":"error","error":{"message":"cut"},"content":[{"type":"text","text":"so far"}]}"#,
        r#"{"status":"failed","error":{"message":"cut"},"output":[{"type":"reasoning"}]}"#,
        r#"{"type":"response.failed","response":{"error":{"message":"cut"},"output":[{"type":"reasoning"}]}}"#,
        r#"{"type":"response.failed","response":{"error":{"message":"cut"},"output":[],"usage":{"input_tokens":5}}}"#,
    ] {
        assert_eq!(Complaint::of_reply(reply.as_bytes()).map(|complaint| complaint.is_free), Some(UNKNOWN), "{reply}");
    }
}

#[test]
fn an_error_within_a_response_is_judged_by_its_own_words_and_an_event_may_be_one_by_its_name() {
    let failed = r#"{"type":"response.failed","response":{"status":"failed","tools":[{"type":"rate_limit"}],"error":{"code":"server_error","message":"no"}}}"#;
    let complaint = Complaint::of_event("response.failed", failed.as_bytes()).unwrap();
    assert_eq!((complaint.failure.kind, complaint.failure.message.as_str()), (FailureKind::Overloaded, "no"));
    assert!(!complaint.is_free, "a gateway may say so of what a model has answered");
    let named = |name: &str| Complaint::of_event(name, br#"{"what":{"code":"slow_down"},"words":"later"}"#);
    assert_eq!(named("error").map(|complaint| complaint.failure.kind), Some(FailureKind::Overloaded));
    assert_eq!((named(""), named("response.error")), (None, None));
}

#[test]
fn codes_are_read_in_any_spelling_and_only_so_deep() {
    let kind = |body: &str| Complaint::of_status(501, body.as_bytes()).failure.kind;
    for code in ["rate_limit_error", "RATE-LIMIT", "rateLimitExceeded", "RateLimitReached"] {
        assert_eq!(kind(&format!(r#"{{"error":{{"type":{code:?}}}}}"#)), FailureKind::Overloaded, "{code}");
    }
    for code in ["429", "\"429\"", "529"] {
        assert_eq!(kind(&format!(r#"{{"error":{{"code":{code}}}}}"#)), FailureKind::Overloaded, "{code}");
    }
    let deep = |depth: usize| {
        let (open, close) = (r#"{"error":"#.repeat(depth), "}".repeat(depth));
        kind(&format!(r#"{open}{{"code":"rate_limit"}}{close}"#))
    };
    assert_eq!((deep(DEEPEST), deep(DEEPEST + 1)), (FailureKind::Overloaded, FailureKind::Rejected));
    let wide = |before: usize| {
        let before = r#"{"a":1},"#.repeat(before);
        kind(&format!(r#"{{"details":[{before}{{"code":"rate_limit"}}]}}"#))
    };
    assert_eq!((wide(WIDEST - 1), wide(WIDEST)), (FailureKind::Overloaded, FailureKind::Rejected));
}

#[test]
fn the_message_is_found_where_known_servers_put_it() {
    for body in [
        r#"{"error":{"message":"too long","type":"invalid"}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"too long"}}"#,
        r#"{"message":"too long"}"#,
        r#"{"error":"too long"}"#,
        r#"{"detail":"too long"}"#,
        "too long",
    ] {
        assert_eq!(in_json(&in_body(body.as_bytes())), "too long", "{body}");
    }
    assert_eq!(in_json(&in_body(br#"{"code":7}"#)), r#"{"code":7}"#);
}

#[test]
fn a_complaint_is_cut_at_500_characters_and_has_no_control_characters() {
    let exact = "ä".repeat(500);
    assert_eq!(clean(&exact), exact);
    assert_eq!(clean(&format!("{exact}b")), format!("{exact}…"));
    assert_eq!(clean(" red \x1b[31m\r\nline\n"), "red  [31m  line");
}

#[test]
fn an_error_beside_a_usage_is_not_free_wherever_the_usage_stands() {
    let is_free = |rest: &str| Complaint::of_reply(format!(r#"{{"error":"busy"{rest}}}"#).as_bytes()).unwrap().is_free;
    assert!(is_free("") && is_free(r#","usage":null"#));
    for place in
        ["\"usage\":{}", "\"message\":{\"usage\":{}}", "\"choices\":[{\"usage\":{}}]", "\"x_groq\":{\"usage\":{}}"]
    {
        assert!(!is_free(&format!(",{place}")), "{place}");
    }
}

#[test]
fn an_error_under_200_of_a_server_that_failed_or_was_too_late_is_not_free_and_another_is() {
    let is_free = |reply: &str| Complaint::of_reply(reply.as_bytes()).unwrap().is_free;
    for failed in [
        r#"{"type":"error","error":{"type":"timeout_error","message":"Request timed out"}}"#,
        r#"{"error":{"message":"Internal server error"}}"#,
        r#"{"error":{"type":"upstream_error","message":"lost"}}"#,
        r#"{"error":{"code":"500","message":"Error processing stream start"}}"#,
    ] {
        assert!(!is_free(failed), "{failed}");
    }
    for refused in [r#"{"error":"no such model"}"#, r#"{"error":{"message":"Rate limit exceeded","code":429}}"#] {
        assert!(is_free(refused), "{refused}");
    }
}
