"""The contract: the documentation of SGD in testable clauses, each summarised in one sentence."""

from __future__ import annotations

CLAUSES = {
    "0": "a step clips, decays, applies the rule, constrains and averages, in this order",
    "1.1": "without momentum w <- w - learning_rate * g",
    "1.2": "with momentum the velocity is kept and added",
    "1.3": "nesterov uses the Nesterov rule; with momentum 0 it changes nothing",
    "1.4": "a gradient of another float dtype is cast last",
    "1.5": "momentum is any finite number >= 0; a value above 1 gives one warning",
    "1.6": "a step with only None is an error; a variable whose gradient is None is unchanged",
    "2.1": "a rate is a finite number >= 0 of any numeric type, and can be read and set",
    "2.2": "a schedule is called with the number of steps, also under accumulation",
    "2.3": "a rate function is called exactly once per step; reading the rate does not call it",
    "2.4": "a rate function must return one finite number >= 0",
    "2.5": "a function that requires arguments, or a class, is refused as a rate",
    "2.6": "the configuration returns exactly the rate that was set",
    "2.7": "a number replaces any rate at once; the displayed rate is the rate in use",
    "2.8": "variables, layers and models are refused as rates; a schedule out of range is an error",
    "3.1": "weight decay is decoupled, precedes the rule, and acts only at updates",
    "3.2": "variables are excluded from decay by object or path, until the optimizer is built",
    "3.3": "exclusions are saved and restored",
    "3.4": "every variable can be excluded",
    "4.1": "each clip keeps its limit, limits are > 0, and at most one is set",
    "4.2": "the gradient of the update is clipped, not its parts",
    "4.3": "norms neither overflow nor underflow, in any dtype or mix of dtypes",
    "4.4": "at or below its limit, a clip does not change a single bit",
    "4.5": "a clip never hides inf or NaN in a gradient",
    "5.1": "the average of the weights starts at the first update and changes at each update",
    "5.2": "weights are overwritten after every f-th update and at no other time",
    "5.3": "the average is taken of the weights after their constraints",
    "5.4": "finalize_variable_values() writes to each variable its own average",
    "5.5": "the arguments of the EMA are checked even without use_ema",
    "5.6": "Keras' SwapEMAWeights works",
    "6.1": "dense and sparse gradients are divided by the loss scale",
    "6.2": "compile() under mixed_float16 warns once when it replaces loss_scale_factor",
    "6.3": "a dynamic loss scale skips non-finite steps, and halves and doubles",
    "7.1": "with accumulation only every n-th step changes weights, by the mean gradient",
    "7.2": "iterations counts updates; a schedule sees steps",
    "7.3": "constraints, decay and EMA act only at updates",
    "7.4": "None counts as zero in a window; a variable with only None is unchanged",
    "7.5": "a window may span epochs, fit() calls, and saving and loading",
    "8.1": "sums and averages of half-precision variables are kept in float32",
    "8.2": "50 steps stay within rounding of the float64 reference",
    "9.1": "saving, loading and continuing equals an uninterrupted run, bit for bit",
    "9.2": "a file saved on one backend continues on the others",
    "9.3": "the configuration round-trips; saving an unregistered function is refused",
    "9.4": "state follows its variable when others are added, removed or reordered",
    "9.4a": "a model always loads; state that does not fit is left out with one warning",
    "9.4b": "load_optimizer() refuses state that does not fit, and names the difference",
    "9.4c": "the state of another class is never guessed; from_keras() converts Keras' SGD",
    "9.4d": "skip_mismatch leaves out weights, never state that fits",
    "9.5": "pickle works",
    "10.1": "one or two replicas give the result of one device on the whole batch",
    "10.2a": "the same on two workers of TensorFlow's MultiWorkerMirroredStrategy",
    "10.2b": "the same under keras.distribution on JAX, on two devices and in two processes",
    "10.2c": "the same in two processes of PyTorch's DistributedDataParallel",
    "10.4": "a gradient that is the same tensor on all replicas counts once per replica",
    "11.1": "a sparse gradient gives the same result as the dense one",
    "11.2": "plain SGD writes only the touched rows",
    "12": "each argument refuses values outside its rule, with an error that names it",
    "12.1": "whole numbers may be floats; 2.5 and numbers beyond 2^31 - 1 are refused",
    "12.2": "numbers may be integers",
    "12.3": "None means not set, and NaN is never accepted",
    "12.4": "flags are True or False only",
    "12.5": "name is one non-empty string without '/', and the velocities' paths begin with it",
    "12.6": "an unknown argument is an error that suggests the closest one",
    "12.7": "an error changes nothing",
    "13.1": "it works wherever Keras accepts a keras.optimizers.SGD",
    "13.2": "its registered name and module do not name a backend",
    "13.3": "a subclass's rule acts, its variables are saved, and attributes are checked when set",
    "13.4": "a second model is refused at its first step",
    "14.1": "a group is a layer, a model, patterns, a list of variables or a predicate",
    "14.2": "a group sets a rate factor, momentum or weight decay, and nothing else",
    "14.3": "a variable's rate is the optimizer's times its factor; a factor of 0 freezes it",
    "14.4": "each setting comes from the last group that sets it; exclusions from decay win",
    "14.5": "clips see the gradients of all variables, before any group acts",
    "14.6": "a group without variables is an error at build that quotes paths",
    "14.7": "a factor can be changed during training, without another compile()",
    "14.8": "groups and their factors are saved and restored",
    "14.9": "variable_groups() shows each variable's rate, momentum, decay and groups",
    "14.10": "layer_decay() lowers the rates from the last layer to the first",
    "14.11": "exclude_from_weight_decay(rank_below=2) excludes biases and scales",
    "15.1": "track_statistics() measures every n-th update; without it nothing is measured",
    "15.2": "norms, clip coefficient, ratio and counts are as documented, also for zeros and NaN",
    "15.3": "statistics equal the reference in eager code, in fit() and for sparse gradients",
    "15.4": "callbacks.Statistics keeps each measured update and fills the logs",
    "16.1": "skip_nonfinite() skips non-finite updates, which change nothing, and counts them",
    "16.2": "callbacks.StopOnNonfinite stops fit() and names batch, loss and variables",
    "17.1": "find_learning_rate() leaves model, optimizer and generators unchanged",
    "17.2": "find_learning_rate() returns a row per batch, and suggests rates near the best one",
    "17.3": "find_learning_rate() suggests nothing if no rate makes the loss fall",
    "18.1": "explain_step() shows each stage of the next step, and changes nothing",
    "18.2": "explain_step(check=True) says whether the real step is the documented one",
    "18.3": "explain_step() leaves out the stages that do not happen in a window",
    "19.1": "an interrupted training resumes from its backup, bit for bit",
}

# The sections beyond the documentation of Keras, and the method by which a class claims each.
CLAIMED_BY = {"14": "set_group", "15": "track_statistics", "16": "skip_nonfinite"}


def claiming_method(clause: str) -> str | None:
    """The method by which a class claims this clause; None if every class does."""
    return CLAIMED_BY.get(clause.partition(".")[0])


def selected(clause: str | None) -> list[str]:
    """The clauses of a section (`"5"`), one clause (`"5.2"`), or all (None), in order.

    Raises:
        ValueError: there is no such section or clause.
    """
    if clause is None:
        return list(CLAUSES)
    chosen = [number for number in CLAUSES if f"{number}.".startswith(f"{clause}.")]
    if not chosen:
        raise ValueError(f"The contract has no clause {clause!r}; it has {', '.join(CLAUSES)}.")
    return chosen
