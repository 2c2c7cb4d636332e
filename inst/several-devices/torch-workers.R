# PyTorch, several processes. Each process runs this script. `fit()` does not support several
# processes, so the script has its own training loop.
Sys.setenv(KERAS_BACKEND = "torch")
source("training.R")
library(kerasgd)

torch <- reticulate::import("torch")
group <- reticulate::import("torch.distributed")
group$init_process_group(
  "gloo", # "nccl" on GPUs
  init_method = paste0("tcp://", worker$coordinator),
  rank = worker$rank, world_size = worker$count
)

keras <- reticulate::import("keras")
model <- new_model(keras)
optimizer <- new_optimizer()
parallel <- torch$nn$parallel$DistributedDataParallel(model)
inputs <- torch$tensor(x[mine, ], dtype = torch$float32)
targets <- torch$tensor(array(y[mine]), dtype = torch$float32)

variables <- model$trainable_variables
for (step in seq_len(steps)) {
  parallel$zero_grad()
  loss <- torch$mean((torch$squeeze(parallel(inputs), -1L) - targets)^2L)
  loss$backward() # gradients are averaged over all workers
  apply_gradients(optimizer, lapply(variables, function(v) v$value$grad), variables)
}
report(model)
group$destroy_process_group()
