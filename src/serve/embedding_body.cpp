#include "serve/embedding_body.h"

#include "serve/prompt_fields.h"

namespace weft::serve {

EmbeddingBody read_embedding(const Fields& fields, int64_t width) {
  EmbeddingBody body;
  body.model = fields.text("model").value_or("");
  body.inputs = prompts_of(fields, "input", kMostInputs);
  const std::string encoding = fields.text("encoding_format").value_or("float");
  if (encoding != "float" && encoding != "base64")
    fields.refuse("encoding_format", "float or base64 is expected");
  body.base64 = encoding == "base64";
  body.dimensions = fields.integer("dimensions", 1, width, "so many the model has").value_or(0);
  const std::string pooling = fields.text("pooling").value_or("last");
  if (pooling != "last" && pooling != "mean") fields.refuse("pooling", "last or mean is expected");
  if (pooling == "mean") body.pooling = fleet::Embed::Pooling::kMean;
  body.normalize = fields.flag("normalize").value_or(true);
  body.truncate_prompt_tokens = read_truncation(fields);
  body.priority =
      static_cast<int32_t>(fields.integer("priority", INT32_MIN, INT32_MAX).value_or(0));
  return body;
}

}  // namespace weft::serve
