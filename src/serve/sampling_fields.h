// How a request's answer is to be chosen, out of the fields of its body: what /v1/chat/completions
// and /v1/completions share.
#pragma once

#include "serve/request_body.h"

namespace weft::serve {

// Fills body->sampling, over the defaults that it holds, and the fields beside it. The ranges are
// check_sampling's (engine/sampling.h), here without a vocabulary, and those of limits.
void read_sampling(const Fields& fields, const BodyLimits& limits, RequestBody* body);

}  // namespace weft::serve
