// The files of the page at / (web/dist), embedded in the binary: path → bytes. What they are is
// fixed when the binary is built (tools/embed_page.py), so that a server needs no folder beside it.
//
// Every file is sent with a policy that lets the page load its own files and talk to this server,
// and nothing else. Names under /assets/ carry a hash of their contents and may be kept for ever.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "serve/exchange.h"

namespace weft::serve {

struct PageFile {
  std::string_view path;  // as asked for: "/", "/assets/index-Bx3k.js"
  std::string_view content_type;
  std::string_view etag;  // with its quotes: of the bytes, before compression
  std::string_view bytes;
  std::string_view gzip;  // the same compressed; empty where that saves nothing
};

// Ordered by path.
std::span<const PageFile> page_files();
// Null where there is none.
const PageFile* find_page_file(std::string_view path);

// Answers a GET or HEAD of a page's file, with 304 where the client has it, compressed where it
// accepts that; 404 where there is no such file. Needs no key: the files say nothing of the server.
void respond_page_file(const std::shared_ptr<Exchange>& exchange);

}  // namespace weft::serve
