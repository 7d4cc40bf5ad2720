// Open MPI, loaded when a launcher is found instead of linked: a program that runs alone pays
// nothing for it (as a linked library it takes the loader 1.2 ms), and one file runs on machines
// that have no MPI too. After this header MPI's functions, and those of its names that are objects
// of the library, mean the loaded ones; all else is mpi.h's.
//
// Rejected: a plugin of our own, which is one more file to install and to find; libraries that the
// linker delays, which Linux does not have.
#pragma once

#define OMPI_SKIP_MPICXX 1  // its C++ bindings, which nobody keeps
#include <mpi.h>

namespace weft::comm {

#define WEFT_MPI_FUNCTIONS(X) \
  X(Abort)                    \
  X(Allgather)                \
  X(Allgatherv)               \
  X(Allreduce)                \
  X(Barrier)                  \
  X(Bcast)                    \
  X(Cancel)                   \
  X(Comm_dup)                 \
  X(Comm_free)                \
  X(Comm_get_attr)            \
  X(Comm_idup)                \
  X(Comm_rank)                \
  X(Comm_set_errhandler)      \
  X(Comm_size)                \
  X(Comm_split)               \
  X(Error_class)              \
  X(Error_string)             \
  X(Finalize)                 \
  X(Get_count)                \
  X(Init_thread)              \
  X(Initialized)              \
  X(Iprobe)                   \
  X(Irecv)                    \
  X(Isend)                    \
  X(Issend)                   \
  X(Recv)                     \
  X(Reduce_scatter)           \
  X(Send)                     \
  X(Test)
// The type, the name here, the library's.
#define WEFT_MPI_OBJECTS(X)                        \
  X(MPI_Comm, comm_world, ompi_mpi_comm_world)     \
  X(MPI_Comm, comm_null, ompi_mpi_comm_null)       \
  X(MPI_Datatype, byte, ompi_mpi_byte)             \
  X(MPI_Datatype, int64, ompi_mpi_int64_t)         \
  X(MPI_Datatype, no_type, ompi_mpi_datatype_null) \
  X(MPI_Op, sum, ompi_mpi_op_sum)                  \
  X(MPI_Request, no_request, ompi_request_null)    \
  X(MPI_Errhandler, errors_return, ompi_mpi_errors_return)

struct MpiLibrary {
#define WEFT_DECLARE(name) decltype(&::MPI_##name) name = nullptr;
  WEFT_MPI_FUNCTIONS(WEFT_DECLARE)
#undef WEFT_DECLARE
#define WEFT_DECLARE(type, name, symbol) type name = nullptr;
  WEFT_MPI_OBJECTS(WEFT_DECLARE)
#undef WEFT_DECLARE
};

// Loaded by the first call, for good. Error(kCommunication) naming the package where there is none,
// or one of another kind.
const MpiLibrary& mpi_library();

}  // namespace weft::comm

#undef MPI_COMM_WORLD
#undef MPI_COMM_NULL
#undef MPI_BYTE
#undef MPI_INT64_T
#undef MPI_DATATYPE_NULL
#undef MPI_SUM
#undef MPI_REQUEST_NULL
#undef MPI_ERRORS_RETURN
#define MPI_COMM_WORLD (::weft::comm::mpi_library().comm_world)
#define MPI_COMM_NULL (::weft::comm::mpi_library().comm_null)
#define MPI_BYTE (::weft::comm::mpi_library().byte)
#define MPI_INT64_T (::weft::comm::mpi_library().int64)
#define MPI_DATATYPE_NULL (::weft::comm::mpi_library().no_type)
#define MPI_SUM (::weft::comm::mpi_library().sum)
#define MPI_REQUEST_NULL (::weft::comm::mpi_library().no_request)
#define MPI_ERRORS_RETURN (::weft::comm::mpi_library().errors_return)

#define MPI_Abort ::weft::comm::mpi_library().Abort
#define MPI_Allgather ::weft::comm::mpi_library().Allgather
#define MPI_Allgatherv ::weft::comm::mpi_library().Allgatherv
#define MPI_Allreduce ::weft::comm::mpi_library().Allreduce
#define MPI_Barrier ::weft::comm::mpi_library().Barrier
#define MPI_Bcast ::weft::comm::mpi_library().Bcast
#define MPI_Cancel ::weft::comm::mpi_library().Cancel
#define MPI_Comm_dup ::weft::comm::mpi_library().Comm_dup
#define MPI_Comm_free ::weft::comm::mpi_library().Comm_free
#define MPI_Comm_get_attr ::weft::comm::mpi_library().Comm_get_attr
#define MPI_Comm_idup ::weft::comm::mpi_library().Comm_idup
#define MPI_Comm_rank ::weft::comm::mpi_library().Comm_rank
#define MPI_Comm_set_errhandler ::weft::comm::mpi_library().Comm_set_errhandler
#define MPI_Comm_size ::weft::comm::mpi_library().Comm_size
#define MPI_Comm_split ::weft::comm::mpi_library().Comm_split
#define MPI_Error_class ::weft::comm::mpi_library().Error_class
#define MPI_Error_string ::weft::comm::mpi_library().Error_string
#define MPI_Finalize ::weft::comm::mpi_library().Finalize
#define MPI_Get_count ::weft::comm::mpi_library().Get_count
#define MPI_Init_thread ::weft::comm::mpi_library().Init_thread
#define MPI_Initialized ::weft::comm::mpi_library().Initialized
#define MPI_Iprobe ::weft::comm::mpi_library().Iprobe
#define MPI_Irecv ::weft::comm::mpi_library().Irecv
#define MPI_Isend ::weft::comm::mpi_library().Isend
#define MPI_Issend ::weft::comm::mpi_library().Issend
#define MPI_Recv ::weft::comm::mpi_library().Recv
#define MPI_Reduce_scatter ::weft::comm::mpi_library().Reduce_scatter
#define MPI_Send ::weft::comm::mpi_library().Send
#define MPI_Test ::weft::comm::mpi_library().Test
