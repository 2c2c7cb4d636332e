# Starts a script in several processes on this machine: Rscript start-workers.R SCRIPT COUNT
# On a cluster, the scheduler does this; each process gets the same environment variables.
arguments <- commandArgs(trailingOnly = TRUE)
script <- arguments[[1]]
count <- as.integer(arguments[[2]])

free_port <- function() {
  for (port in sample(20000:50000)) {
    socket <- tryCatch(serverSocket(port), error = function(error) NULL)
    if (!is.null(socket)) {
      close(socket)
      return(port)
    }
  }
}
addresses <- paste0("127.0.0.1:", replicate(count, free_port()))

start <- function(rank) {
  cluster <- paste0('"', addresses, '"', collapse = ", ")
  processx::process$new(
    file.path(R.home("bin"), "Rscript"), script,
    env = c(
      "current",
      RANK = rank, WORLD_SIZE = count, COORDINATOR = addresses[[1]],
      TF_CONFIG = sprintf(
        '{"cluster": {"worker": [%s]}, "task": {"type": "worker", "index": %d}}', cluster, rank
      )
    ),
    stdout = tempfile(), stderr = "2>&1"
  )
}

workers <- lapply(seq_len(count) - 1L, start)
alive <- function() vapply(workers, function(worker) worker$is_alive(), TRUE)
failed <- function() {
  vapply(workers, function(worker) isTRUE(worker$get_exit_status() != 0), TRUE)
}
# If one fails, stop the others, which would wait for it.
while (any(alive()) && !any(failed())) Sys.sleep(0.1)
has_failed <- any(failed())
for (worker in workers) worker$kill()

for (rank in seq_len(count)) {
  said <- readLines(workers[[rank]]$get_output_file())
  cat(sprintf("worker %d: %s\n", rank - 1, said), sep = "")
}
quit(status = as.integer(has_failed))
