// An error that says: later. Nothing is wrong with what was asked, and it may succeed when others
// have ended. A caller that knows no more than Error sees a service that is not available.
#pragma once

#include <string_view>

#include "base/error.h"

namespace weft {

class BusyError : public Error {
 public:
  explicit BusyError(std::string_view what, std::string_view why = {})
      : Error(ErrorKind::kCommunication, what, why) {}
};

}  // namespace weft
