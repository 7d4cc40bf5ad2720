// How a request's answer is to be chosen, out of the fields of its body: what /v1/chat/completions
// and /v1/completions share.
#pragma once

#include "cli/request_fields.h"
#include "cli/request_line.h"

namespace weft::cli {

// Refuses what asks for something that is not there: tools, a response_format, ...
void refuse_what_is_missing(const Fields& body);

// Fills line->sampling, over the defaults that it holds, and the fields beside it. The ranges are
// check_sampling's (engine/sampling.h), here without a vocabulary.
void read_sampling(const Fields& body, RequestLine* line);

}  // namespace weft::cli
