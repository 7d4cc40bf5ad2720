#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace weft {
namespace {

std::string joined(std::string_view what, std::string_view why, std::string_view mend) {
  std::string text(what);
  if (!why.empty()) text.append("\n  because: ").append(why);
  if (!mend.empty()) text.append("\n  to mend: ").append(mend);
  return text;
}

}  // namespace

Error::Error(ErrorKind kind, std::string_view what, std::string_view why, std::string_view mend)
    : std::runtime_error(joined(what, why, mend)),
      kind_(kind),
      summary_(what),
      why_(why),
      mend_(mend) {}

void check_failed(const char* file, int line, const char* condition, const std::string& detail) {
  std::fprintf(stderr, "weft: internal error at %s:%d: CHECK(%s) failed: %s\n", file, line,
               condition, detail.c_str());
  std::abort();
}

}  // namespace weft
