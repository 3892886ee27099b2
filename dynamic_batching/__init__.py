"""The dynamic batching server: requests that arrive one by one leave as batches."""
