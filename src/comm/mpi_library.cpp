#include "comm/mpi_library.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"

namespace weft::comm {
namespace {

// Of Open MPI 4 and 5. Where the loader looks, and then where the library of the build was.
constexpr const char* kNames[] = {"libmpi.so.40", WEFT_MPI_FOLDER "/libmpi.so.40"};

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorKind::kCommunication, "Open MPI's library cannot be loaded", why,
              "install Open MPI 4 or 5 on this host (Debian: openmpi-bin), or name its folder in "
              "LD_LIBRARY_PATH");
}

// With its names for all: the parts that it loads by itself look for them.
void* open_library() {
  std::string why;
  for (const char* name : kNames) {
    if (void* const library = dlopen(name, RTLD_NOW | RTLD_GLOBAL)) return library;
    if (const char* error = dlerror(); why.empty() && error != nullptr) why = error;
  }
  refuse(why);
}

void* symbol(void* library, const char* name) {
  if (void* const found = dlsym(library, name)) return found;
  refuse(fmt::format("it has no {}: it is another MPI, or another version", name));
}

MpiLibrary load() {
  void* const library = open_library();
  MpiLibrary mpi;
#define WEFT_FIND(name) \
  mpi.name = reinterpret_cast<decltype(mpi.name)>(symbol(library, "MPI_" #name));
  WEFT_MPI_FUNCTIONS(WEFT_FIND)
#undef WEFT_FIND
#define WEFT_FIND(type, name, object) mpi.name = static_cast<type>(symbol(library, #object));
  WEFT_MPI_OBJECTS(WEFT_FIND)
#undef WEFT_FIND
  return mpi;
}

}  // namespace

const MpiLibrary& mpi_library() {
  static const MpiLibrary library = load();
  return library;
}

}  // namespace weft::comm
