// IEEE half precision, the storage of keys and values that are kept: a step is bound by reading them.
#pragma once

#include <cstdint>

namespace gap {

using half = uint16_t;

}  // namespace gap
