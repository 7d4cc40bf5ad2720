#include "comm/spanning_member.h"

#include <algorithm>
#include <compare>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/range.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

// How much later than a silent rank's own process the others give up on it, so that the error names
// the rank and not the one that speaks for it.
constexpr milliseconds kPreciseFirst{1000};

class SpanningMember final : public Communicator {
 public:
  SpanningMember(std::shared_ptr<JobPart> part, std::vector<int> processes,
                 std::vector<int64_t> first_ranks, int64_t number,
                 std::unique_ptr<ThreadMember> inside, GroupOptions options)
      : options_(options),
        first_ranks_(std::move(first_ranks)),
        between_(std::move(part), std::move(processes), number,
                 {options.deadline + kPreciseFirst, options.two_shot_bytes, options.shares_memory,
                  options.wire}),
        inside_(std::move(inside)),
        outboxes_(static_cast<size_t>(first_ranks_.back())),
        bounds_(first_ranks_.size()) {
    WEFT_CHECK_EQ(inside_->size(), num_local(between_.index()));
  }

  int rank() const override {
    return static_cast<int>(first_ranks_[static_cast<size_t>(between_.index())]) + inside_->rank();
  }
  int size() const override { return static_cast<int>(first_ranks_.back()); }

  void barrier(const char* phase) override;
  void all_reduce(std::span<int64_t> data, const char* phase) override;
  void reduce_scatter(std::span<int64_t> data, int64_t row_length, const char* phase) override;
  void all_reduce_sums(const SumRows& rows, const char* phase) override;
  void reduce_scatter_sums(const SumRows& rows, const char* phase) override;
  void reduce_scatter_as_made(const SumRows& rows, const Making& making,
                              const char* phase) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                  const char* phase) override;
  void all_gather_rows(std::span<std::byte> all, int64_t row_bytes, const char* phase) override;
  void broadcast(std::span<std::byte> data, int root, const char* phase) override;
  void send(int to, std::span<const std::byte> data, const char* phase) override;
  void recv(int from, std::span<std::byte> data, const char* phase) override;
  std::unique_ptr<Communicator> split(int color, int key) override;

  bool lends_views() const override { return false; }
  std::span<const std::byte* const> exchange(const std::byte*, const char* phase) override {
    WEFT_CHECK(false, "{}: ranks of several processes lend each other nothing", phase);
  }
  void abort(const std::string& reason) override {
    part().family()->abort(reason);
    part().nudge();
  }

 private:
  struct Place {
    int index;  // of the process in this group
    int local;
  };
  Place place_of(int rank) const {
    const auto after = std::upper_bound(first_ranks_.begin(), first_ranks_.end(), rank);
    const auto index = after - first_ranks_.begin() - 1;
    return {static_cast<int>(index),
            rank - static_cast<int>(first_ranks_[static_cast<size_t>(index)])};
  }
  int num_local(int index) const {
    const auto i = static_cast<size_t>(index);
    return static_cast<int>(first_ranks_[i + 1] - first_ranks_[i]);
  }
  bool is_here(Place place) const { return place.index == between_.index(); }
  bool speaks() const { return inside_->rank() == 0; }
  JobPart& part() { return between_.part(); }

  // From the one that speaks to the others here, once the other processes have answered it.
  void spread(std::span<std::byte> data, const char* phase) {
    if (inside_->size() == 1) return;
    inside_->set_deadline(between_.deadline() + kPreciseFirst);
    inside_->broadcast(data, 0, phase);
    inside_->set_deadline(options_.deadline);
  }
  // bounds_: the processes' blocks of `count` rows, in elements of which a row has row_length.
  void cut_rows(int64_t num_elements, int64_t row_length);
  template <typename T>
  std::span<T> own_block(std::span<T> all) const {
    const auto i = static_cast<size_t>(between_.index());
    return all.subspan(static_cast<size_t>(bounds_[i]),
                       static_cast<size_t>(bounds_[i + 1] - bounds_[i]));
  }
  // bounds_: in elements.
  void spread_own_block(std::span<int64_t> data, const char* phase) {
    spread(std::as_writable_bytes(own_block(data)), phase);
  }
  void check_peer(int peer, const char* phase) const {
    WEFT_CHECK(peer >= 0 && peer < size() && peer != rank(), "{}: rank {} has no peer {} in {}",
               phase, rank(), peer, size());
  }
  Outbox& outbox(int to, Place place);

  const GroupOptions options_;
  const std::vector<int64_t> first_ranks_;
  ProcessGroup between_;
  const std::unique_ptr<ThreadMember> inside_;
  std::vector<std::shared_ptr<Outbox>> outboxes_;  // by rank, once written to
  std::vector<int64_t> bounds_;                    // [processes + 1], of the last cut
};

void SpanningMember::cut_rows(int64_t num_elements, int64_t row_length) {
  WEFT_CHECK(row_length > 0 && num_elements % row_length == 0, "{} elements in rows of {}",
             num_elements, row_length);
  const Range rows{0, num_elements / row_length};
  for (size_t i = 0; i + 1 < bounds_.size(); ++i)
    bounds_[i] = equal_part(rows, first_ranks_[i], size()).begin * row_length;
  bounds_.back() = num_elements;
}

void SpanningMember::barrier(const char* phase) {
  inside_->barrier(phase);
  if (speaks()) between_.barrier(phase);
  spread({}, phase);
}

void SpanningMember::all_reduce(std::span<int64_t> data, const char* phase) {
  inside_->all_reduce(data, phase);
  if (speaks()) between_.all_reduce(data, phase);
  spread(std::as_writable_bytes(data), phase);
}

void SpanningMember::reduce_scatter(std::span<int64_t> data, int64_t row_length,
                                    const char* phase) {
  cut_rows(static_cast<int64_t>(data.size()), row_length);
  inside_->all_reduce(data, phase);
  if (speaks()) between_.reduce_blocks(data, bounds_, phase);
  spread_own_block(data, phase);
}

// A process's part is whole until it leaves.
void SpanningMember::all_reduce_sums(const SumRows& rows, const char* phase) {
  inside_->all_reduce(rows.data, phase);
  if (speaks()) between_.all_reduce_sums(rows, phase);
  spread(std::as_writable_bytes(rows.data), phase);
}

void SpanningMember::reduce_scatter_sums(const SumRows& rows, const char* phase) {
  cut_rows(static_cast<int64_t>(rows.data.size()), rows.row_length);
  inside_->all_reduce(rows.data, phase);
  if (speaks()) between_.reduce_sums(rows, bounds_, phase);
  spread_own_block(rows.data, phase);
}

// The ranks of this process make a piece together before the one that speaks sends it.
void SpanningMember::reduce_scatter_as_made(const SumRows& rows, const Making& making,
                                            const char* phase) {
  if (!between_.sends_sums()) return Communicator::reduce_scatter_as_made(rows, making, phase);
  cut_rows(static_cast<int64_t>(rows.data.size()), rows.row_length);
  const PieceOrder pieces(bounds_, rows.row_length, between_.index(), making.rows_per_piece);
  const auto make = [&](Range piece) {
    making.make_of(piece);
    inside_->all_reduce(rows.data.subspan(static_cast<size_t>(piece.begin * rows.row_length),
                                          static_cast<size_t>(piece.size() * rows.row_length)),
                        phase);
  };
  if (speaks()) {
    between_.reduce_sums_as_made(rows, pieces, make, phase);
  } else {
    pieces.for_each([&](int, Range piece) { make(piece); });
  }
  spread_own_block(rows.data, phase);
}

void SpanningMember::all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                                const char* phase) {
  WEFT_CHECK_EQ(all.size(), mine.size() * static_cast<size_t>(size()));
  for (size_t i = 0; i < bounds_.size(); ++i)
    bounds_[i] = first_ranks_[i] * static_cast<int64_t>(mine.size());
  inside_->all_gather(mine, own_block(all), phase);
  if (speaks()) between_.gather_blocks(all, bounds_, phase);
  spread(all, phase);
}

// The rows of this process's ranks are one block, but not cut as a thread group would cut it.
void SpanningMember::all_gather_rows(std::span<std::byte> all, int64_t row_bytes,
                                     const char* phase) {
  cut_rows(static_cast<int64_t>(all.size()), row_bytes);
  const auto views = inside_->exchange(all.data(), phase);
  if (speaks()) {
    const Range rows{0, static_cast<int64_t>(all.size()) / row_bytes};
    for (int local = 1; local < inside_->size(); ++local) {
      const Range theirs = equal_part(rows, rank() + local, size());
      if (theirs.empty()) continue;
      const int64_t begin = theirs.begin * row_bytes;
      std::memcpy(all.data() + begin, views[static_cast<size_t>(local)] + begin,
                  static_cast<size_t>(theirs.size() * row_bytes));
    }
    between_.gather_blocks(all, bounds_, phase);
  }
  spread(all, phase);
}

void SpanningMember::broadcast(std::span<std::byte> data, int root, const char* phase) {
  WEFT_CHECK(root >= 0 && root < size(), "{}: root {} of {}", phase, root, size());
  const Place place = place_of(root);
  if (is_here(place)) inside_->broadcast(data, place.local, phase);
  if (speaks()) between_.broadcast(data, place.index, phase);
  if (!is_here(place)) spread(data, phase);
}

Outbox& SpanningMember::outbox(int to, Place place) {
  std::shared_ptr<Outbox>& box = outboxes_[static_cast<size_t>(to)];
  if (!box)
    box = part().make_outbox(between_.process(place.index),
                             tag::message(between_.number(), inside_->rank(), place.local));
  return *box;
}

void SpanningMember::send(int to, std::span<const std::byte> data, const char* phase) {
  check_peer(to, phase);
  const Place place = place_of(to);
  if (is_here(place)) return inside_->send(place.local, data, phase);
  part().throw_if_failed();
  part().enter(phase);
  Outbox& box = outbox(to, place);
  Looks looks(options_.deadline);
  Outbox::Put put;
  while ((put = box.put(data)) == Outbox::Put::kFull) {
    part().throw_if_failed();
    if (!looks.again())
      part().fail(fmt::format("{} did not take the messages of '{}' within {} ms",
                              part().name(between_.process(place.index)), phase,
                              options_.deadline.count()));
  }
  if (const std::string why = box.failure(); !why.empty())
    part().fail(fmt::format("a message to {} failed in '{}'",
                            part().name(between_.process(place.index)), phase),
                why);
  if (put == Outbox::Put::kUnderWay) part().nudge();
}

void SpanningMember::recv(int from, std::span<std::byte> data, const char* phase) {
  check_peer(from, phase);
  const Place place = place_of(from);
  if (is_here(place)) return inside_->recv(place.local, data, phase);
  part().throw_if_failed();
  Transfer transfer;
  part().link().receive(transfer, between_.process(place.index),
                        tag::message(between_.number(), place.local, inside_->rank()), data);
  part().finish({&transfer, 1}, {"recv", phase, options_.deadline}, [](size_t) {});
}

std::unique_ptr<Communicator> SpanningMember::split(int color, int key) {
  struct Choice {
    int color, key, rank;
    auto operator<=>(const Choice&) const = default;
  };
  const Choice mine{color, key, rank()};
  std::vector<Choice> all(static_cast<size_t>(size()));
  all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)), "split");
  std::sort(all.begin(), all.end());  // by color, key, rank

  // One number for each color, whether or not its group will span processes.
  int64_t num_colors = 0, color_index = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && all[i].color == all[i - 1].color) continue;
    if (all[i].color == color) color_index = num_colors;
    ++num_colors;
  }
  int64_t number = 0;
  if (speaks()) number = between_.agree_on_groups(num_colors);
  spread(std::as_writable_bytes(std::span(&number, 1)), "split");
  number += color_index;

  std::vector<int> processes;
  std::vector<int64_t> first_ranks;
  int64_t num_members = 0;
  for (const Choice& choice : all) {
    if (choice.color != color) continue;
    const int process = between_.process(place_of(choice.rank).index);
    if (processes.empty() || processes.back() != process) {
      WEFT_CHECK(std::find(processes.begin(), processes.end(), process) == processes.end(),
                 "split: the members of a process must be neighbours in the new group");
      processes.push_back(process);
      first_ranks.push_back(num_members);
    }
    ++num_members;
  }
  first_ranks.push_back(num_members);
  std::unique_ptr<ThreadMember> inside = inside_->split_threads(color, key);
  if (processes.size() == 1) return inside;
  return make_spanning_member(between_.shared_part(), std::move(processes), std::move(first_ranks),
                              number, std::move(inside), options_);
}

}  // namespace

std::unique_ptr<Communicator> make_spanning_member(std::shared_ptr<JobPart> part,
                                                   std::vector<int> processes,
                                                   std::vector<int64_t> first_ranks, int64_t number,
                                                   std::unique_ptr<ThreadMember> inside,
                                                   GroupOptions options) {
  return std::make_unique<SpanningMember>(std::move(part), std::move(processes),
                                          std::move(first_ranks), number, std::move(inside),
                                          options);
}

}  // namespace weft::comm
