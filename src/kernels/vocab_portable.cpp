#include "kernels/vec_portable.h"
// The text below needs its instruction set first.
#include "kernels/choice.inl.h"
#include "kernels/table_parts.h"
#include "kernels/vocab.inl.h"

namespace weft::kernels::portable {

void fill_vocab(KernelTable& table) {
  fill_vocab_kernels(table);
  fill_choice_kernels(table);
}

}  // namespace weft::kernels::portable
