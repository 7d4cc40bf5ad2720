#include "checkpoint/byte_reader.h"

#include <fmt/format.h>

#include "checkpoint/refuse.h"

namespace weft::checkpoint {

void ByteReader::refuse_end(uint64_t num_bytes) const {
  refuse(file_,
         fmt::format("{} asks for {} bytes at byte {}, {} are left", subject_, num_bytes, position_,
                     remaining()),
         kDamaged, kFetchAgain);
}

void ByteReader::refuse_count(uint64_t count, uint64_t least_bytes) const {
  refuse(file_,
         fmt::format("{} counts {} elements of at least {} bytes, {} bytes are left", subject_,
                     count, least_bytes, remaining()),
         kDamaged, kFetchAgain);
}

}  // namespace weft::checkpoint
