// What a user typed as MODEL → what is opened. Models of a hub are fetched where they are missing.
#pragma once

#include <string>
#include <vector>

#include "cli/commands.h"

namespace weft::cli {

// A path as it is, a name of the catalogue as its cached file, a name of a hub (hub/model_name.h)
// as what lies in the hub's cache, fetched first where it is not there in whole. Error(kModel),
// Error(kUsage).
std::string obtain_model(const std::string& typed, const Context& context, bool quiet);

// The same of a name that can only be a hub's.
std::string obtain_hub_model(const std::string& typed, const Context& context, bool quiet);

// The newest state of a hub's model, whatever is there already: weft pull.
std::string pull_hub_model(const std::string& typed, const Context& context, bool quiet);

// A name of the model for others, which says nothing of the machine's folders: a file's without its
// folders, or what was typed.
std::string public_name(const std::string& typed);

// Whether it is shaped like a name of a hub and is no file or folder here.
bool is_hub_name(const std::string& typed);

}  // namespace weft::cli
