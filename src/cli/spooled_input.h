// What a stream holds, in a file without a name that can be read again from its beginning: for who
// reads twice what comes through a pipe.
#pragma once

#include <iosfwd>
#include <string>

namespace weft::cli {

class SpooledInput {
 public:
  // Reads `in` to its end. The file lies in the folder of temporary ones ($TMPDIR, otherwise /tmp)
  // and is gone when this is. Error(kUsage) where that has no room for it.
  explicit SpooledInput(std::istream& in);
  ~SpooledInput();
  SpooledInput(const SpooledInput&) = delete;
  SpooledInput& operator=(const SpooledInput&) = delete;

  // By which this process opens it while it is there.
  std::string path() const;

 private:
  int descriptor_ = -1;
};

}  // namespace weft::cli
