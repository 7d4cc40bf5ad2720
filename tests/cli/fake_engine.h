// The whole program with an engine that has no model, for the tests of the commands.
#pragma once

#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "engine/fake_engine.h"

namespace weft::cli {

using engine::FakeEngine;
using engine::FakeState;
using engine::FakeTemplate;
using engine::FakeTokenizer;

// The whole program with a fake engine behind it, and all that it wrote.
struct Program {
  FakeState state;
  Environment environment = {{"XDG_CACHE_HOME", "/nowhere/cache"}};
  std::string input, out, err;
  bool input_is_silent = false;    // an open pipe in which nothing comes
  bool input_is_terminal = false;  // of which nothing is read; the output is none

  int run(const std::vector<std::string>& arguments) {
    std::istringstream in(input);
    std::ostringstream out_stream, err_stream;
    Console console{in, out_stream, err_stream, input_is_terminal, false, false, [this] {
                      return input_is_terminal ? InputState::kTerminal
                             : input_is_silent ? InputState::kSilent
                             : input.empty()   ? InputState::kNothing
                                               : InputState::kText;
                    }};
    const EngineDoor door{
        [this](const engine::EngineOptions& options, const engine::OnLoad& on_load,
               const engine::OnOpen& on_open) {
          state.loaded_with = options;
          open(on_open);
          ++state.num_loads;
          if (on_load) on_load(1, 1);
          return std::make_unique<FakeEngine>(state);
        },
        [this](const engine::EngineOptions& options) {
          state.loaded_with = options;
          return engine::Inspection{state.model, state.split};
        },
        [] { return std::string_view("portable"); },
        [this](const engine::PackRequest& request, const engine::OnPack& on_pack) {
          state.packed.push_back(request);
          engine::PackReport report{"tiny.tp2.packed", "tp=2", 2, 98'362'432, 100'000'000};
          report.stopped = !on_pack(100'000'000, 100'000'000);
          return report;
        },
        [this](const std::string& path, int, const engine::OnPack& on_bytes) {
          state.verified.push_back(path);
          engine::VerifyReport report{path, 2, 100'000'000};
          report.stopped = !on_bytes(100'000'000, 100'000'000);
          return report;
        }};
    const int code = run_program(arguments, {console, environment, door});
    out = out_stream.str();
    err = err_stream.str();
    return code;
  }

 private:
  void open(const engine::OnOpen& on_open) const {
    if (!on_open) return;
    const FakeTokenizer tokenizer;
    const FakeTemplate chat_template;
    on_open({state.model, tokenizer, state.has_template ? &chat_template : nullptr,
             state.max_model_len, [this](std::span<const int32_t> ids) {
               if (static_cast<int64_t>(ids.size()) > state.max_model_len)
                 throw Error(ErrorKind::kUsage, "the prompt is too long");
             }});
  }
};

}  // namespace weft::cli
