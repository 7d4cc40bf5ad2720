# Cross-builds for 64-bit Arm on Debian. tools/setup --aarch64 installs the compiler and qemu, and
# unpacks the libraries into WEFT_SYSROOT: a place where packages are found, no --sysroot, because
# the compiler brings its own C and C++ headers. Test programs run under qemu; WEFT_QEMU_CPU names
# the processor that it plays.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(WEFT_SYSROOT "" CACHE PATH "Where tools/setup --aarch64 unpacked the libraries")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES WEFT_SYSROOT)
set(CMAKE_FIND_ROOT_PATH "${WEFT_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${WEFT_SYSROOT}")
set(ENV{PKG_CONFIG_LIBDIR}
    "${WEFT_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${WEFT_SYSROOT}/usr/share/pkgconfig")
set(CMAKE_CXX_STANDARD_INCLUDE_DIRECTORIES "${WEFT_SYSROOT}/usr/include/aarch64-linux-gnu")
# Where the libraries' own libraries lie.
foreach(folder usr/lib lib)
  string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT
         " -Wl,-rpath-link,${WEFT_SYSROOT}/${folder}/aarch64-linux-gnu")
endforeach()

set(WEFT_QEMU_CPU "max" CACHE STRING "The processor that qemu plays in tests")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L "${WEFT_SYSROOT}" -cpu "${WEFT_QEMU_CPU}")
