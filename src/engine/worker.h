// One worker: a team of threads that runs one or more ranks through the steps it is given.
//
// It owns everything of its ranks: weights, cache, communicators, scratch. It receives all of it
// in the constructor and shares nothing with other workers but the communicators' memory.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "base/activity.h"
#include "base/thread_team.h"
#include "cache/group_layout.h"
#include "comm/comm.h"
#include "engine/engine.h"
#include "engine/mask_work.h"
#include "engine/model_source.h"
#include "engine/pipeline_report.h"
#include "engine/placement.h"
#include "engine/step.h"
#include "model/head.h"
#include "model/split.h"
#include "model/stage.h"
#include "model/weights.h"

namespace weft::engine {

// What all workers of a replica agree on, and keep alive.
struct ReplicaShape {
  std::shared_ptr<const ModelSource> source;
  parallel::Topology topology;
  std::vector<model::StageSplit> splits;
  PlacementPlan placement;
  kernels::KvLayout kv;
  std::shared_ptr<const std::vector<model::RopeCache>> ropes;
  const kernels::KernelTable* table = nullptr;
  cache::GroupLayout groups;
  int64_t num_blocks = 0;              // of full attention
  std::vector<int64_t> window_blocks;  // of groups 1 on
  int64_t max_batch_tokens = 512;
  int64_t num_kept_events = 0, num_kept_steps = 0;  // as EngineOptions
  std::vector<double> stage_seconds;                // the same
  comm::SumWire reduce = comm::SumWire::kInt64;     // the same

  // A row a stage, or one for a pool of all ranks.
  std::vector<TimeRow> time_rows() const;
};

class Worker {
 public:
  // world: joins all workers, ranked as in the placement.
  Worker(const ReplicaShape& shape, int index, std::unique_ptr<comm::Communicator> world);
  ~Worker();

  // Collective over the workers, from the thread that will call `run`: splits the communicators,
  // loads the weights, allocates the cache.
  void start(const std::function<void(int64_t)>& on_bytes);
  int64_t file_bytes() const;           // that start() reads
  int index() const { return index_; }  // in the placement

  int64_t load_ns() const { return load_ns_; }  // that start() spent on them

  // Runs one step; the workers of the last stage make its masks. On the workers of the last stage
  // `answer` is filled, the same on each. work_ns [time_rows()] is given the time of this worker's
  // row, by the row's first worker: computing and the collectives that belong to it, as of the
  // moment before the step is handed over.
  void run(const StepPlan& plan, MaskWork& masks, StepAnswer& answer, std::span<int64_t> work_ns);
  bool answers() const;
  // Of a step that has not begun: by the threads of this worker alone.
  void fill_masks(MaskWork& masks) { masks.help(team_); }
  // Where a worker that does not answer leaves what it finds.
  StepAnswer& own_answer() { return own_answer_; }

  // Ends every wait of the other workers with this reason.
  void abort(const std::string& reason);

  struct RankBytes {
    int64_t weights = 0, kv = 0, logits = 0, step = 0;
  };
  RankBytes loaded_bytes(int rank) const;
  // Bytes of weights that a decoding step reads on this worker.
  int64_t step_weight_bytes() const;
  ActivityClock& clock() { return clock_; }
  const ActivityClock& clock() const { return clock_; }
  // Payload that a rank has added to reductions since it started.
  int64_t reduce_bytes(int rank) const;

 private:
  // The part of this worker in one stage.
  struct StagePart {
    const model::StageSplit* split = nullptr;
    int index = 0;  // of the stage
    Range shards;   // of the stage that run here
    std::unique_ptr<model::StageWeights> weights;
    std::unique_ptr<comm::Communicator> communicator;
    std::unique_ptr<model::Stage> stage;
    std::unique_ptr<model::Head> head;
    // By each of its shards; read while the rank runs.
    std::unique_ptr<std::atomic<int64_t>> reduce_bytes;
  };

  void plan_parts();
  // The part that holds a rank, and which of its shards that is.
  std::pair<const StagePart*, int64_t> find(int rank) const;
  std::vector<cache::KvStorage> allocate_cache(const StagePart& part) const;
  void fill_batch(const StepPlan& plan);
  void make_masks(MaskWork& masks);
  void find_bad_layers(const model::HiddenState& hidden, StepAnswer& answer) const;
  // Between two stages: what of the hidden state one worker sends, and which place it takes.
  struct Handed {
    std::span<std::byte> residual, bad_layer;
    bool is_slice = false;  // to be gathered by the stage that takes it
  };
  bool are_alike(int stage, int next) const;
  bool keeps_shares(const StagePart& part) const;
  bool sends_slices(int stage, int next) const;
  Handed handed(StagePart& part, int stage, int next) const;
  void receive(StagePart& part);
  void hand_over(StagePart& from, StagePart* next);
  // Sleeps until the stage has worked for as long as it is to seem, from begin_ns on.
  void simulate(const StagePart& part, int64_t begin_ns) const;
  Range workers_of_stage(int stage) const;

  const ReplicaShape& shape_;
  int index_;
  int row_ = 0;  // of ReplicaShape::time_rows()
  const WorkerPlace& place_;
  const kernels::KernelTable& table_;
  std::unique_ptr<comm::Communicator> world_;
  ThreadTeam team_;
  std::vector<StagePart> parts_;
  model::Batch batch_;
  StepAnswer own_answer_;
  int64_t load_ns_ = 0;
  ActivityClock clock_;
};

}  // namespace weft::engine
