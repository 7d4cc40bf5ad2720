// A saved request and its response as a receipt: the same request, answered again on any topology,
// gives the same tokens where the fingerprints are equal. `weft verify` and its rules.
#pragma once

#include <cstdint>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weft::serve {

// Bodies of /v1/chat/completions, /v1/completions or /v1/responses, as JSON.
struct Receipt {
  std::string request;
  std::string response;  // in one form (serve/saved_answer.h)
  std::string path;      // of the route
  bool streams = false;  // it was answered as a stream, and is to be again
  bool is_chat() const { return path != "/v1/completions"; }
  // The length in tokens of an answer that ended for its length although the request bounds none:
  // its server's context was full. The request is asked again with as many.
  std::optional<int64_t> length_of_context;
};

// text: {"request": ..., "response": ...}, or the two one after the other. The response is an
// object, or the events of a stream: as they came, or as a text in JSON. Error(kUsage) where it is
// neither, or where the request cannot be repeated: one that is neither greedy nor has a seed, or
// goes on with a response that a server keeps; for a stream that did not end, or what is no
// response of these routes.
Receipt read_receipt(std::string_view text);

// The request to ask again: with token ids, for whatever model is served, stored nowhere.
std::string repeated_request(const Receipt& receipt);

struct Verdict {
  std::string saved_fingerprint, fingerprint;
  bool by_tokens = false;    // otherwise by text alone, since the response has no token_ids
  int64_t num_compared = 0;  // tokens; bytes where by text
  std::vector<std::string> differences;  // a line a choice that differs: where, and how
  // "token_ids", "text", "finish_reason", "usage", ...: what the response has, and what it has not.
  std::vector<std::string> compared, missing;
  std::vector<std::string> left_out;  // "model", "ids", ...: of no receipt's concern

  bool same_engine() const { return saved_fingerprint == fingerprint; }
  bool agrees() const { return differences.empty(); }
};
// again: the body of the response to repeated_request, or its stream.
Verdict compare(const Receipt& receipt, std::string_view again);

}  // namespace weft::serve
