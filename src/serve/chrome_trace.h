// What every rank did, as Chrome trace events (the JSON array format), which ui.perfetto.dev and
// chrome://tracing open. A process row a stage, a thread row a rank; complete events for compute,
// collectives and each cause of a bubble, with the step and its size as arguments; counters of
// sequences and cache blocks.
#pragma once

#include <iosfwd>

#include "engine/engine.h"

namespace weft::serve {

// Events in order of workers, then of time. `split` names stages and layers, and where several
// processes run the ranks their hosts; how far moments of other hosts may be off is then said under
// otherData.
void write_trace(const engine::PipelineTrace& trace, const engine::SplitReport& split,
                 std::ostream& out);

}  // namespace weft::serve
