// What the page at / shows of the prefix cache, as JSON: numbers alone, and no token of a prompt.
// Which part is whose is told of the viewer's own; those of others cannot be told from one another.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fleet/prefix_snapshot.h"
#include "serve/page_data.h"
#include "serve/task_pool.h"

namespace weft::serve {

// GET /weft/cache: the radix tree in runs of blocks (cache/prefix_outline.h).
//
//   {now_us, made_us, enabled, block_size,
//    published,    blocks in the tree
//    unpublished,  blocks that sequences hold beside it
//    not_seen,     of published: too many to be looked at
//    owners: {principal, mine: SUM, others: SUM, unknown: SUM},
//    runs: [{block, parent, blocks, tokens, sequences, new, idle_since_us, mine, more: SUM}],
//    more: SUM}    beginnings that are not among the runs
//
//   SUM: {runs, blocks, tokens, used}, used of the blocks: held by sequences
//
// runs come after their parent, whose index in `runs` is `parent` (-1: none); `more` is what hangs
// below a run and is not among them. The blocks of runs, of all `more` and not_seen are published;
// so are those of owners and not_seen. Times are as in /weft/state; idle_since_us is 0 while
// sequences hold the run or what is under it.
std::string cache_json(const fleet::PrefixSnapshot& snapshot, int64_t block_size,
                       std::string_view viewer, int64_t now_ns);

// Written by a thread of the pool: who tells what the cache holds is the thread that steps. 503
// while the engine is not there yet, or not any more, or too much waits.
Route cache_route(EngineOf engine, std::shared_ptr<TaskPool> pool);

}  // namespace weft::serve
