/* The update in one pass over memory, in place: no implementation can be much faster. */
#include <math.h>
#include <stddef.h>

double squares(const float *g, ptrdiff_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (ptrdiff_t i = 0; i < n; i++) sum += g[i] * g[i];
  return sum;
}

void plain(float *w, const float *g, ptrdiff_t n, float rate) {
#pragma omp simd
  for (ptrdiff_t i = 0; i < n; i++) w[i] -= rate * g[i];
}

void with_momentum(float *w, float *v, const float *g, ptrdiff_t n, float rate, float m,
                   int nesterov) {
#pragma omp simd
  for (ptrdiff_t i = 0; i < n; i++) {
    v[i] = m * v[i] - rate * g[i];
    w[i] += nesterov ? m * v[i] - rate * g[i] : v[i];
  }
}

void everything(float *w, float *v, float *a, const float *g, ptrdiff_t n, float rate, float m,
                int nesterov, float keep, float c) {
#pragma omp simd
  for (ptrdiff_t i = 0; i < n; i++) {
    v[i] = m * v[i] - rate * g[i];
    w[i] = keep * w[i] + (nesterov ? m * v[i] - rate * g[i] : v[i]);
    a[i] = c * a[i] + (1 - c) * w[i];
  }
}
