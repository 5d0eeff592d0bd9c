--- Which unbusy this is.
return "0.1.0"
