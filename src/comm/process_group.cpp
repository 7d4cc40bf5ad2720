#include "comm/process_group.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/range.h"
#include "comm/reduce_crossover.h"
#include "comm/sum_coder.h"
#include "comm/sums_to_send.h"

namespace weft::comm {
namespace {

std::byte* at_least(tensor::Buffer& buffer, int64_t num_bytes) {
  if (buffer.size() < num_bytes) buffer = tensor::Buffer(num_bytes, "sums between processes");
  return buffer.data();
}

template <typename T>
std::span<T> block(std::span<T> data, ProcessGroup::Bounds bounds, int index) {
  const auto i = static_cast<size_t>(index);
  return data.subspan(static_cast<size_t>(bounds[i]),
                      static_cast<size_t>(bounds[i + 1] - bounds[i]));
}

}  // namespace

ProcessGroup::ProcessGroup(std::shared_ptr<JobPart> part, std::vector<int> processes,
                           int64_t number, GroupOptions options)
    : part_(std::move(part)),
      processes_(std::move(processes)),
      number_(number),
      options_(options),
      two_shot_bytes_(options.two_shot_bytes) {
  const auto own = std::find(processes_.begin(), processes_.end(), part_->link().process());
  WEFT_CHECK(own != processes_.end(), "a group without this process");
  index_ = static_cast<int>(own - processes_.begin());
  transfers_.reserve(2 * processes_.size());
  bounds_.resize(processes_.size() + 1);
  part_->hold_group(number_);
}

ProcessGroup::~ProcessGroup() { part_->release_group(number_); }

void ProcessGroup::begin(Verb verb, const char* phase) {
  part_->throw_if_failed();
  tag_ = tag::collective(number_, static_cast<int>(verb), num_calls_++);
  awaited_ = {name_of(verb), phase, options_.deadline};
  transfers_.clear();
}

void ProcessGroup::receive(int from, std::span<std::byte> data) {
  part_->link().receive(transfers_.emplace_back(), process(from), tag_, data);
}

void ProcessGroup::send(int to, std::span<const std::byte> data) {
  part_->link().send(transfers_.emplace_back(), process(to), tag_, data, Until::kCopied);
}

void ProcessGroup::finish(FunctionRef<void(size_t)> over) {
  part_->finish(transfers_, awaited_, over);
}

void ProcessGroup::finish() {
  finish([](size_t) {});
}

void ProcessGroup::open_window(const char* phase) {
  window_tried_ = true;
  if (size() == 1 || !options_.shares_memory || !part_->on_one_machine(processes_)) return;
  const int64_t num_bytes = Window::num_bytes(size());
  SharedMemory::Address address;
  if (index_ == 0) memory_ = SharedMemory::make(num_bytes);
  if (memory_) address = memory_->address();
  broadcast(std::as_writable_bytes(std::span(&address, 1)), 0, phase);
  if (index_ != 0 && address.num_bytes == num_bytes) memory_ = SharedMemory::open(address);
  int64_t without[1] = {memory_ ? 0 : 1};
  one_shot(without, phase);
  if (without[0] != 0) {
    log_debug("{} of {} processes of {} cannot share memory; they send messages", without[0],
              size(), part_->introduced()[static_cast<size_t>(process(index_))].peer.host);
    return memory_.reset();
  }
  memory_->close_address();
  window_ =
      std::make_unique<Window>(*part_, processes_, index_, memory_->data(), options_.deadline);
}

void ProcessGroup::barrier(const char* phase) {
  if (Window* const shared = window(phase)) return shared->barrier(phase);
  begin(Verb::kBarrier, phase);
  for (int other = 0; other < size(); ++other)
    if (other != index_) receive(other, {});
  for (int other = 0; other < size(); ++other)
    if (other != index_) send(other, {});
  finish();
}

void ProcessGroup::all_reduce(std::span<int64_t> data, const char* phase) {
  if (size() == 1) return part_->throw_if_failed();
  window(phase);
  if (two_shot_bytes_ < 0)
    two_shot_bytes_ =
        measure_two_shot_bytes([&](std::span<int64_t> sums) { one_shot(sums, phase); },
                               [&](std::span<int64_t> sums) { two_shot(sums, phase); },
                               [&](std::span<std::byte> verdict) { broadcast(verdict, 0, phase); });
  if (static_cast<int64_t>(data.size_bytes()) < two_shot_bytes_ || data.empty()) {
    one_shot(data, phase);
  } else {
    two_shot(data, phase);
  }
}

void ProcessGroup::one_shot(std::span<int64_t> data, const char* phase) {
  if (window_) return window_->one_shot(data, phase);
  const auto num_bytes = static_cast<int64_t>(data.size_bytes());
  const auto others = static_cast<size_t>(size() - 1);
  std::byte* parts = at_least(parts_, num_bytes * static_cast<int64_t>(others));
  // The sum grows while what was sent is still on its way.
  std::byte* copy = at_least(copy_, num_bytes);
  if (!data.empty()) std::memcpy(copy, data.data(), data.size_bytes());
  begin(Verb::kAllReduce, phase);
  for (int other = 0; other < size(); ++other)
    if (other != index_)
      receive(other,
              {parts + static_cast<int64_t>(transfers_.size()) * num_bytes, data.size_bytes()});
  for (int other = 0; other < size(); ++other)
    if (other != index_) send(other, {copy, data.size_bytes()});
  finish([&](size_t i) {
    if (i < others) add_words(data, parts + static_cast<int64_t>(i) * num_bytes);
  });
}

void ProcessGroup::two_shot(std::span<int64_t> data, const char* phase) {
  if (window_) return window_->two_shot(data, phase);
  const Range whole{0, static_cast<int64_t>(data.size())};
  for (int i = 0; i < size(); ++i)
    bounds_[static_cast<size_t>(i)] = equal_part(whole, i, size()).begin;
  bounds_.back() = whole.end;
  reduce_blocks(Verb::kAllReduce, data, bounds_, phase);
  for (int64_t& bound : bounds_) bound *= static_cast<int64_t>(sizeof(int64_t));
  gather_blocks(Verb::kAllReduce, std::as_writable_bytes(data), bounds_, phase);
}

void ProcessGroup::reduce_blocks(std::span<int64_t> data, Bounds bounds, const char* phase) {
  if (Window* const shared = window(phase))
    return shared->reduce_blocks(Verb::kReduceScatter, data, bounds, phase);
  reduce_blocks(Verb::kReduceScatter, data, bounds, phase);
}

void ProcessGroup::reduce_blocks(Verb verb, std::span<int64_t> data, Bounds bounds,
                                 const char* phase) {
  const std::span<int64_t> own = block(data, bounds, index_);
  const auto num_bytes = static_cast<int64_t>(own.size_bytes());
  const auto others = static_cast<size_t>(size() - 1);
  std::byte* parts = at_least(parts_, num_bytes * static_cast<int64_t>(others));
  begin(verb, phase);
  for (int other = 0; other < size(); ++other)
    if (other != index_)
      receive(other,
              {parts + static_cast<int64_t>(transfers_.size()) * num_bytes, own.size_bytes()});
  for (int other = 0; other < size(); ++other)
    if (other != index_) send(other, std::as_bytes(block(data, bounds, other)));
  finish([&](size_t i) {
    if (i < others) add_words(own, parts + static_cast<int64_t>(i) * num_bytes);
  });
}

void ProcessGroup::all_reduce_sums(const SumRows& rows, const char* phase) {
  if (!rounds()) return all_reduce(rows.data, phase);
  const Range all{0, rows.num_rows()};
  if (window(phase) == nullptr)
    return exchange_sums(
        Verb::kAllReduce, rows, [&](int) { return all; }, phase);
  SumCoder(rows, options_.wire).round(all);
  all_reduce(rows.data, phase);
}

void ProcessGroup::reduce_sums(const SumRows& rows, Bounds bounds, const char* phase) {
  if (!rounds()) return reduce_blocks(rows.data, bounds, phase);
  const auto rows_of = [&](int index) {
    const auto i = static_cast<size_t>(index);
    return Range{bounds[i] / rows.row_length, bounds[i + 1] / rows.row_length};
  };
  if (window(phase) == nullptr) return exchange_sums(Verb::kReduceScatter, rows, rows_of, phase);
  SumCoder(rows, options_.wire).round({0, rows.num_rows()});
  reduce_blocks(rows.data, bounds, phase);
}

void ProcessGroup::exchange_sums(Verb verb, const SumRows& rows, FunctionRef<Range(int)> rows_of,
                                 const char* phase) {
  const SumCoder coder(rows, options_.wire);
  const Range own = rows_of(index_);
  const auto others = static_cast<size_t>(size() - 1);
  const int64_t own_bytes = coder.num_bytes(own);
  std::byte* parts = at_least(parts_, own_bytes * static_cast<int64_t>(others));
  std::byte* codes = at_least(copy_, coder.num_bytes({0, rows.num_rows()}));
  begin(verb, phase);
  for (int other = 0; other < size(); ++other)
    if (other != index_)
      receive(other, {parts + static_cast<int64_t>(transfers_.size()) * own_bytes,
                      static_cast<size_t>(own_bytes)});
  coder.write({0, rows.num_rows()}, codes);
  for (int other = 0; other < size(); ++other) {
    if (other == index_) continue;
    const Range theirs = rows_of(other);
    send(other,
         {codes + theirs.begin * coder.row_bytes(), static_cast<size_t>(coder.num_bytes(theirs))});
  }
  finish([&](size_t i) {
    if (i < others && !coder.add(own, parts + static_cast<int64_t>(i) * own_bytes))
      fail_no_sum(transfers_[i].peer);
  });
}

void ProcessGroup::fail_no_sum(int process) const {
  part_->fail(fmt::format("{} sent to '{}' ({}) of {} what no sum can be", part_->name(process),
                          awaited_.phase, awaited_.operation, part_->own_name()));
}

void ProcessGroup::reduce_sums_as_made(const SumRows& rows, const PieceOrder& pieces,
                                       FunctionRef<void(Range)> make, const char* phase) {
  const SumsToSend sums(rows, options_.wire, copy_);
  const auto add_part = [&](size_t i) {
    if (!sums.add(incoming_[i].units, incoming_[i].part)) fail_no_sum(transfers_[i].peer);
  };
  begin(Verb::kReduceScatterAsMade, phase);
  size_t num_come = 0;  // of the receives, as far as all before it have
  try {
    expect(sums, pieces);
    pieces.for_each([&](int owner, Range piece) {
      make(piece);
      part_->throw_if_failed();
      sums.round(piece);
      if (owner != index_)
        sums.for_each_message(piece, [&](Range units) { send(owner, sums.leaving(units)); });
      while (num_come < incoming_.size() && part_->is_over(transfers_[num_come], awaited_))
        ++num_come;
    });
    for (size_t i = 0; i < num_come; ++i) add_part(i);
  } catch (...) {
    part_->give_up(transfers_);
    throw;
  }
  finish([&](size_t i) {
    if (i < incoming_.size()) add_part(i);
  });
}

void ProcessGroup::expect(const SumsToSend& sums, const PieceOrder& pieces) {
  size_t num_received = 0, num_sent = 0;
  pieces.for_each([&](int owner, Range piece) {
    size_t& count = owner == index_ ? num_received : num_sent;
    sums.for_each_message(piece, [&](Range) { ++count; });
  });
  num_received *= static_cast<size_t>(size() - 1);
  transfers_.reserve(num_received + num_sent);  // they stay where they are
  incoming_.clear();
  incoming_.reserve(num_received);
  const Range own = pieces.rows_of(index_);
  std::byte* part = at_least(parts_, (size() - 1) * sums.num_bytes(sums.units_of(own)));
  for (int other = 0; other < size(); ++other) {
    for (int64_t k = 0; k < pieces.num_pieces(index_) && other != index_; ++k) {
      sums.for_each_message(pieces.piece(index_, k), [&](Range units) {
        incoming_.push_back({units, part});
        receive(other, {part, static_cast<size_t>(sums.num_bytes(units))});
        part += sums.num_bytes(units);
      });
    }
  }
}

void ProcessGroup::gather_blocks(std::span<std::byte> all, Bounds bounds, const char* phase) {
  window(phase);
  gather_blocks(Verb::kAllGather, all, bounds, phase);
}

void ProcessGroup::gather_blocks(Verb verb, std::span<std::byte> all, Bounds bounds,
                                 const char* phase) {
  if (window_) return window_->gather_blocks(verb, all, bounds, phase);
  begin(verb, phase);
  for (int other = 0; other < size(); ++other)
    if (other != index_) receive(other, block(all, bounds, other));
  for (int other = 0; other < size(); ++other)
    if (other != index_) send(other, block(all, bounds, index_));
  finish();
}

void ProcessGroup::broadcast(std::span<std::byte> data, int root, const char* phase) {
  if (Window* const shared = window(phase)) return shared->broadcast(data, root, phase);
  begin(Verb::kBroadcast, phase);
  if (index_ != root) {
    receive(root, data);
  } else {
    for (int other = 0; other < size(); ++other)
      if (other != root) send(other, data);
  }
  finish();
}

int64_t ProcessGroup::agree_on_groups(int64_t count) {
  std::vector<int64_t> offers(processes_.size()), bounds(processes_.size() + 1);
  for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = static_cast<int64_t>(i * sizeof(int64_t));
  for (int64_t tries = 0; tries < 2 * tag::kNumGroups; ++tries) {
    offers[static_cast<size_t>(index_)] = part_->next_group();
    gather_blocks(Verb::kSplit, std::as_writable_bytes(std::span(offers)), bounds, "split");
    const int64_t first = *std::max_element(offers.begin(), offers.end());
    // Another group of a process may have claimed it meanwhile.
    int64_t failures[1] = {part_->claim_groups(first, count) ? 0 : 1};
    one_shot(failures, "split");
    if (failures[0] == 0) return first;
  }
  part_->fail(fmt::format("more than {} groups at a time span processes", tag::kNumGroups - 1));
}

}  // namespace weft::comm
