// The plain meaning of the kernels that are not linears: scalar code straight from kernels.h, one
// function a kernel, with the signature of its table entry. Tests compare every table with these
// bit by bit; nothing else calls them.
#pragma once

#include "kernels/kernels.h"

namespace weft::kernels::reference {

// float_math_constants.h has the steps.
float exp_float(float x);
float tanh_float(float x);
float silu(float x);       // x / (1 + exp(-x))
float gelu_tanh(float x);  // (0.5 x) (1 + tanh(kGeluScale (x + kGeluCubic (x x x))))

void add(float* x, const float* y, int64_t n);
void rms_norm(const float* x, const float* weight, float eps, float* out, int64_t n);
void scale(float* x, float factor, int64_t n);
void silu_mul(float* gate, const float* up, int64_t n);
void gelu_tanh_mul(float* gate, const float* up, int64_t n);
void softcap(float* x, float cap, int64_t n);
void rope(float* x, int64_t num_heads, int64_t head_dim, const float* cos, const float* sin,
          int64_t num_pairs, RopeLayout layout);

void write_kv(const KvWrite& op);
void attention(const Attention& op);

void top_k(const float* logits, int64_t n, int32_t first_id, int k, Candidate* out,
           int64_t* num_nan);
int64_t exp_sum(const float* logits, int64_t n, float max, float inv_temperature);
int64_t locate(const float* logits, int64_t n, float max, float inv_temperature, int64_t target);
uint64_t hash_logits(const float* logits, int64_t n, int64_t position, int32_t first_id);

void adjust(float* logits, Range ids, const TokenAdjustment* adjustments, int64_t count,
            float repetition_penalty, float* before);
void forbid(float* logits, int64_t n, const uint32_t* mask);
void weigh(const float* logits, int64_t n, float max, float inv_temperature, int64_t* out);
int64_t kept_sum(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept);
int64_t kept_moment(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept);
int64_t kept_locate(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                    int64_t target);
void count_keys(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                KeptOrder order, uint64_t key, int level, KeyBin* bins);

}  // namespace weft::kernels::reference
