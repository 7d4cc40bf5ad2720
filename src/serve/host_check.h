// What a browser could do to a server that listens on loopback only: a page of any site may have
// its own name resolve to 127.0.0.1 (DNS rebinding), or post to it blindly. So on loopback the Host
// must be a name of this machine, and an Origin, where there is one, the same host.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "serve/exchange.h"

namespace weft::serve {

// "LOCALHOST:8000" -> "localhost", "[::1]:80" -> "::1"; empty where it is no host.
std::string host_name(std::string_view host_field);

// localhost, *.localhost, 127.0.0.0/8 and ::1.
bool is_loopback_name(std::string_view host_name);

// Empty: fine. Otherwise what is wrong, in words. allowed: further names, as of --allowed-hosts.
std::string check_host(const HttpRequest& request, const std::vector<std::string>& allowed);

}  // namespace weft::serve
