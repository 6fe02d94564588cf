"""Models: logged, loaded, registered, tried; and the data sets that they learn from."""
