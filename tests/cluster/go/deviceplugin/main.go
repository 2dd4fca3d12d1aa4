// A device plugin without devices: device-plugin RESOURCE COUNT
// and what a kubelet says of its devices: device-plugin list SOCKET
//
// It advertises COUNT devices of a name such as nvidia.com/gpu to the kubelet of its mount namespace, and
// tells containers which of them they have, as NVIDIA's plugin does. There is no device to use. The
// second form prints which pod has which devices, as the pod resources API at SOCKET lists it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/klog/v2"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	resources "k8s.io/kubelet/pkg/apis/podresources/v1"
	plugin "k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/plugin/v1beta1"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("device-plugin RESOURCE COUNT, or device-plugin list SOCKET")
	}
	if os.Args[1] == "list" {
		if err := list(os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	resource := os.Args[1]
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var devices []*api.Device
	for i := range count {
		devices = append(devices, &api.Device{ID: fmt.Sprintf("GPU-%d", i), Health: api.Healthy})
	}
	for ctx.Err() == nil { // the kubelet may not listen yet
		if _, err := os.Stat(api.KubeletSocket); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	logger := klog.FromContext(ctx)
	stub := plugin.NewDevicePluginStub(logger, devices, api.DevicePluginPath+"gpu.sock", resource, false, false)
	stub.SetAllocFunc(allocate)
	if err := stub.Start(ctx); err != nil {
		log.Fatal(err)
	}
	if err := stub.Register(ctx, api.KubeletSocket, resource, api.DevicePluginPath); err != nil {
		log.Fatal(err)
	}
	go stub.Watch(ctx, api.KubeletSocket, resource, api.DevicePluginPath)
	<-ctx.Done()
	_ = stub.Stop(logger)
}

func allocate(asked *api.AllocateRequest, _ map[string]*api.Device) (*api.AllocateResponse, error) {
	var answer api.AllocateResponse
	for _, container := range asked.ContainerRequests {
		answer.ContainerResponses = append(answer.ContainerResponses, &api.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(container.DevicesIds, ",")},
		})
	}
	return &answer, nil
}

func list(socket string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	answer, err := resources.NewPodResourcesListerClient(connection).List(ctx, &resources.ListPodResourcesRequest{})
	if err != nil {
		return err
	}
	found := map[string][]string{}
	for _, pod := range answer.PodResources {
		for _, container := range pod.Containers {
			for _, devices := range container.Devices {
				name := pod.Namespace + "/" + pod.Name
				found[name] = append(found[name], devices.DeviceIds...)
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}
